"""A compact model: two towers, a head and a card in one safetensors file, or in a folder as the hub has them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from tips_med.adapter import Adapter, adapter_of
from tips_med.alignment import AlignmentHead
from tips_med.card import BALANCED, ModelCard, OperatingPointName, card_from_dict
from tips_med.encoders.base import ImageFeatures, ImageTower, TextTower
from tips_med.encoders.compact import CompactImageTower
from tips_med.encoders.compact_text import CompactTextTower
from tips_med.errors import MissingExtraError, OutputError, TipsMedError, WeightsError
from tips_med.folders import whole_folder
from tips_med.hub.readme import readme_text
from tips_med.hub.results import measured_results
from tips_med.model_files import (
    CONFIG,
    FORMAT,
    LEXICON,
    README,
    WEIGHTS,
    half_tensors,
    lexicon_text,
    read_config,
    read_lexicon,
    read_tensors,
    save_model,
)
from tips_med.net import GroundingNet, dict_of_config, image_config_from_dict, text_config_from_dict
from tips_med.query import Lexicon, load_lexicon

SHIPPED = "chest_ct"
HUB = "hf://"
"""What a name of the hub begins with."""

_Part = TypeVar("_Part", AlignmentHead, Adapter)
_WEIGHTS = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, eq=False)
class GroundingModel:
    """A model that encodes scans and answers queries.

    Attributes:
        image: Image tower.
        text: Text tower.
        head: Alignment head, which scores patches against text (``patch_scores``, ``fine_scores``).
        card: Card of the model.
        sha256: SHA-256 of the weights; the first twelve hexadecimal digits are in every result.
        language: Lexicon that came with the model; None where its card names an installed one.
        file: Safetensors file that the model was read from; None for any other kind.
        adapters: What a compact model was taught later; see ``tips_med.adapter``.
    """

    image: ImageTower
    text: TextTower
    head: AlignmentHead
    card: ModelCard
    sha256: str
    language: Lexicon | None = None
    file: Path | None = None
    adapters: tuple[Adapter, ...] = ()

    def head_of(self, adapter: int) -> AlignmentHead:
        """The head of an adapter, as ``TextFeatures.adapter`` has it; the first one for 0."""
        return self.adapters[adapter - 1].head if adapter else self.head

    @torch.inference_mode()
    def scores(self, text: Tensor, features: ImageFeatures, *, slabs: slice = slice(None)) -> Tensor:
        """Logits of embeddings at every cell, [query slab y x]: fine cells, or patches of towers that have only these.

        Args:
            text: Embeddings of tokens or phrases, [query width].
            features: Output of the image tower, of the text's own adapter.
            slabs: Slabs to score; all by default.
        """
        head = self.head_of(features.adapter)
        patches = features.patches[slabs].float()
        if features.fine is None:
            return head.patch_scores(text, patches)
        step = None if features.fine_step is None else features.fine_step[slabs]
        return head.fine_scores(text, patches, features.fine[slabs].float(), step)

    @torch.inference_mode()
    def patch_scores(self, text: Tensor, features: ImageFeatures) -> Tensor:
        """Logits of embeddings at every patch, [query slab row column], without what fine features add.

        Args:
            text: Embeddings of tokens or phrases, [query width].
            features: Output of the image tower, of the text's own adapter.
        """
        return self.head_of(features.adapter).patch_scores(text, features.patches.float())

    def adapter_of(self, phrase: str) -> int:
        """Number of the adapter that answers a phrase, from 1; 0 for what the model knew before."""
        return adapter_of(phrase.split(), [adapter.config.phrases for adapter in self.adapters])

    @property
    def identity(self) -> str:
        """Name and short hash: ``compact chest CT (1a2b3c4d5e6f)``; and the operating point unless it is balanced."""
        point = self.card.operating_point
        return f"{self.card.name} ({self.sha256[:12]}{'' if point == BALANCED else f', {point}'})"

    def at(self, operating_point: OperatingPointName) -> GroundingModel:
        """The same model with the thresholds of an operating point: ``sensitive``, ``balanced`` or ``specific``.

        Studies that were encoded before stay its studies: only the decision moves.

        Raises:
            ConfigError: No calibration of these weights has that point.
        """
        return dataclasses.replace(self, card=self.card.at(operating_point))

    @property
    def lexicon(self) -> Lexicon:
        """The language of its queries: the lexicon that came with it, or the one that its card names."""
        return self.language or load_lexicon(self.card.lexicon)

    @property
    def names(self) -> tuple[str, ...]:
        """What it finds, in words: findings first, then structures."""
        return tuple(self.lexicon.term(term).name for term in (*self.card.findings, *self.card.structures))

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, device: torch.device | str = "cpu", **options: Any
    ) -> GroundingModel:
        """Loads a model from a folder that ``save_pretrained`` wrote, or from the Hugging Face hub.

        Args:
            name: A folder; or ``hf://owner/name``, the only case in which the network is used.
            revision: Of a hub model: branch, tag or commit; better pinned to a commit.
            device: Where to run it.
            **options: Of huggingface_hub's ModelHubMixin: cache_dir, force_download, local_files_only, token.

        Raises:
            WeightsError: It is missing, damaged, of another kind, or its files do not belong together.
            MissingExtraError: ``tips-med[hub]`` is not installed, for a name of the hub.
        """
        if str(name).startswith(HUB):
            return _read_folder(_transfer().download(str(name), revision=revision, **options), device)
        folder = Path(name)
        if not folder.is_dir():
            looks_like_hub = not folder.exists() and not folder.is_absolute() and len(folder.parts) == 2
            raise WeightsError(
                "is a file" if folder.exists() else "no such folder",
                path=folder,
                expected=f"a folder that holds {CONFIG} and {WEIGHTS}",
                remedy=f"write {HUB}{folder.as_posix()} to download it from the hub" if looks_like_hub else None,
                code="missing-weights",
            )
        return _read_folder(folder, device)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes the model as a folder, whole or not at all: weights, config.json, lexicon and model card.

        Unchanged weights stay the same file, byte by byte, so that their hash stays what it is.

        Args:
            folder: To write; an earlier model of this kind in it is replaced.

        Raises:
            OutputError: It cannot be written there, or the folder holds something else.
            WeightsError: ``other-model`` for TIPS towers, and for towers of one's own.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                "it holds something else", path=folder, expected="a new folder, or one with a model", code="not-empty"
            )
        try:
            with whole_folder(folder) as partial:
                _write_folder(self, partial)
        except OSError as error:
            raise OutputError(
                f"cannot be written ({error})", path=folder, remedy="make room and run it again"
            ) from error
        return folder

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Uploads the model to the Hugging Face hub; it is the only thing that ever leaves this machine.

        Args:
            repo_id: ``owner/name``.
            **options: Of huggingface_hub's ModelHubMixin: commit_message, private, token, branch, create_pr.

        Returns:
            Where the commit is.

        Raises:
            OutputError: It cannot be uploaded.
            MissingExtraError: ``tips-med[hub]`` is not installed.
        """
        net_of_model(self)
        return _transfer().push(repo_id, lambda folder: _write_folder(self, folder), **options)


def load_model(path: str | Path | None = None, device: torch.device | str = "cpu") -> GroundingModel:
    """Loads a model.

    Args:
        path: Path of a safetensors file from ``save_model``; the shipped weights when None.
        device: Device to run on.

    Raises:
        WeightsError: The file is missing, damaged, or of another kind of model.
    """
    file = Path(path) if path is not None else _WEIGHTS / f"{SHIPPED}.safetensors"
    if not file.is_file():
        raise WeightsError("no such file", path=file, remedy="give the path of a model's .safetensors file")
    metadata, tensors = read_tensors(file)
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"weights of format {metadata.get('format', 'unknown')!r}", path=file, expected=repr(FORMAT), code="format"
        )
    try:
        net = GroundingNet(
            image_config_from_dict(json.loads(metadata["image"])),
            text_config_from_dict(json.loads(metadata["text"])),
            adapters=json.loads(metadata.get("adapters", "[]")),
        )
        card = card_from_dict(json.loads(metadata["card"]))
        net.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"its metadata and its tensors do not fit together ({error})", path=file) from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return dataclasses.replace(model_of_net(net.to(device), card, digest), file=file)


def model_of_net(net: GroundingNet, card: ModelCard, sha256: str, language: Lexicon | None = None) -> GroundingModel:
    """A model around networks, which it shares: what they learn, it knows.

    Args:
        net: The networks, on the device to run on. The head is moved to the CPU, where features are kept.
        card: What they were taught.
        sha256: Of their weights.
        language: The lexicon of the phrases; the one that the card names when None.
    """
    image = CompactImageTower(net.image, taught=[one.decoder for one in net.taught])
    text = CompactTextTower(net.text, [one.text for one in net.taught], net.route)
    taught = tuple(_on_cpu(one).eval() for one in net.taught)
    return GroundingModel(image, text, _on_cpu(net.head).eval(), card, sha256, language, adapters=taught)


def _on_cpu(part: _Part) -> _Part:
    """A part of a network on the CPU: itself, or a copy of one that is elsewhere."""
    return part if next(part.parameters()).device.type == "cpu" else copy.deepcopy(part).cpu()


def net_of_model(model: GroundingModel, phrases: tuple[str, ...] = ()) -> GroundingNet:
    """The networks of a compact model as one module, a copy on the CPU.

    Args:
        model: With compact towers.
        phrases: See GroundingNet.

    Raises:
        WeightsError: ``other-model`` for towers of another kind.
    """
    if not isinstance(model.image, CompactImageTower) or not isinstance(model.text, CompactTextTower):
        raise WeightsError(
            f"the model {model.card.name!r} has towers of another kind ({model.image.name})",
            expected="a compact model",
            remedy="TIPS towers are a folder as the hub has it already",
            code="other-model",
        )
    net = GroundingNet(
        model.image.net.config, model.text.net.config, phrases, [adapter.config for adapter in model.adapters]
    )
    parts = {"image": model.image.net, "text": model.text.net, "head": model.head}
    for name, part in parts.items():
        getattr(net, name).load_state_dict(part.state_dict())
    for own, adapter in zip(net.adapters, model.adapters):
        own.load_state_dict(adapter.state_dict())
    return net.eval()


def config_of_model(model: GroundingModel) -> dict[str, Any]:
    """What ``config.json`` says: sizes, card and calibration, in JSON's own types."""
    net = net_of_model(model)
    adapters = [dict_of_config(adapter.config) for adapter in model.adapters]
    return {
        "library_name": "tips_med",
        "format": FORMAT,
        "image": dict_of_config(net.image.config),
        "text": dict_of_config(net.text.config),
        "card": json.loads(json.dumps(dataclasses.asdict(model.card))),
        "lexicon": LEXICON,
        **({"adapters": adapters} if adapters else {}),
    }


def _write_folder(model: GroundingModel, folder: Path) -> None:
    """Writes a model's files into a folder that is there."""
    net, card = net_of_model(model), model.card
    weights = folder / WEIGHTS
    if model.file is not None and _is_in_file(model, net, model.file):
        shutil.copyfile(model.file, weights)
    else:
        save_model(weights, net.image, net.text, net.head, card, model.adapters)
    config = json.dumps(config_of_model(model), indent=2, ensure_ascii=False)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / CONFIG).write_text(config + "\n", "utf-8")
    (folder / LEXICON).write_text(lexicon_text(model.lexicon), "utf-8")
    (folder / README).write_text(readme_text(card, sha256, measured_results(sha256), model.names), "utf-8")


def _read_folder(folder: Path, device: torch.device | str) -> GroundingModel:
    config = read_config(folder)
    model = load_model(folder / WEIGHTS, device)
    net = net_of_model(model)
    # Both files say it, so that the hub can show it: they must not say two things.
    differing = [key for key, value in config_of_model(model).items() if config.get(key) != value and key != "lexicon"]
    if differing:
        raise WeightsError(
            f"says another {differing[0]} than {WEIGHTS}",
            path=folder / CONFIG,
            expected="what the metadata of the weights says",
            remedy="change a card with tips_med.loading.save_with_card and write the folder again",
            code="other-model",
        )
    return dataclasses.replace(model, language=read_lexicon(folder / LEXICON, model.card, net.vocabulary))


def _is_in_file(model: GroundingModel, net: GroundingNet, file: Path) -> bool:
    """Whether a file holds exactly this model, which may have been changed since it was read."""
    try:
        metadata, tensors = read_tensors(file)
        same_card = card_from_dict(json.loads(metadata["card"])) == model.card
    except (TipsMedError, KeyError, TypeError, ValueError):
        return False
    own = half_tensors(net.image, net.text, net.head, model.adapters)
    if hashlib.sha256(file.read_bytes()).hexdigest() != model.sha256 or not same_card or own.keys() != tensors.keys():
        return False
    return all(torch.equal(own[key].float(), tensors[key]) for key in own)


def _transfer() -> Any:
    try:
        from tips_med.hub import transfer
    except ModuleNotFoundError as error:
        raise MissingExtraError("models of the Hugging Face hub", "huggingface_hub", "hub") from error
    return transfer
