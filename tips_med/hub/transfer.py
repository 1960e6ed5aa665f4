"""Folders to and from the Hugging Face hub, by its own ``ModelHubMixin``.

Nothing here is called unless a name begins with ``hf://`` or a model is pushed. ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``,
``HF_HOME`` and tokens mean what they mean to huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from tips_med.errors import OutputError, TipsMedError, WeightsError

HUB = "hf://"
"""What a hub name begins with, as in ``hf://owner/name``; without it nothing is ever downloaded."""

FILES = ("config.json", "model.safetensors", "lexicon.yaml", "README.md")
"""All that is taken from the hub, whatever else lies there."""


class HubFolder(ModelHubMixin, library_name="tips_med", license="apache-2.0"):
    """A model's folder, on its way to the hub or from it.

    Args:
        folder: Where it was downloaded to; None for one that is yet to be written.
        write: Writes its files into a folder.
    """

    def __init__(self, folder: Path | None = None, write: Callable[[Path], object] | None = None) -> None:
        self.folder, self.write = folder, write

    def _save_pretrained(self, save_directory: Path) -> None:
        assert self.write is not None  # only what is written is pushed
        self.write(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **model_kwargs: Any,
    ) -> HubFolder:
        del model_kwargs  # the mixin's, from config.json: the folder is read as a whole
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=list(FILES),
        )
        return cls(Path(folder))


def download(name: str, *, revision: str | None = None, **options: Any) -> Path:
    """A model's folder from the hub, or from the hub's cache.

    Args:
        name: ``hf://owner/name``.
        revision: Branch, tag or commit; better pinned to a commit.
        **options: More of ``ModelHubMixin.from_pretrained``: cache_dir, force_download, local_files_only, token.

    Raises:
        WeightsError: ``hub-name``; ``offline`` when it is not in the cache and the network may not be used;
            ``missing-weights`` when it cannot be had.
    """
    place = _owner_and_name(name)
    try:
        found = HubFolder.from_pretrained(place, revision=revision, **options).folder
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{name} is not in the hub's cache, and the network is not to be used or not there",
            remedy="download it where there is a network, and give the folder",
            code="offline",
        ) from error
    except Exception as error:  # no network, no such model, no access: each raises a class of its own
        raise WeightsError(
            f"{name} cannot be downloaded ({type(error).__name__})",
            expected="a model that is there and that you may read, in a revision that it has",
            remedy="look at its name, revision and your token, or give a folder",
            code="missing-weights",
        ) from error
    assert found is not None  # what is downloaded has a folder
    return found


def push(name: str, write: Callable[[Path], object], **options: Any) -> str:
    """Uploads what ``write`` writes, as one commit.

    Args:
        name: ``owner/name``, with or without ``hf://``.
        write: Writes the files into a folder.
        **options: More of ``ModelHubMixin.push_to_hub``: commit_message, private, token, branch, create_pr.

    Returns:
        Where the commit is.

    Raises:
        OutputError: It cannot be uploaded.
    """
    place = _owner_and_name(name)
    try:
        return str(HubFolder(write=write).push_to_hub(place, **options))
    except TipsMedError:
        raise
    except Exception as error:  # no network, no access, a full disk there: each raises a class of its own
        offline = isinstance(error, OfflineModeIsEnabled)
        raise OutputError(
            f"{name} cannot be uploaded ({type(error).__name__})",
            expected="a network, and a token that may write there",
            remedy="unset HF_HUB_OFFLINE" if offline else "log in with: hf auth login",
            code="offline" if offline else "upload",
        ) from error


def _owner_and_name(name: str) -> str:
    owner, slash, model = name.removeprefix(HUB).partition("/")
    if not (owner and slash and model) or "/" in model or ".." in name:
        raise WeightsError(f"{name!r} is no name of the hub", expected=f"{HUB}owner/name", code="hub-name")
    return f"{owner}/{model}"
