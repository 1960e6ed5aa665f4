"""The original npz checkpoints of TIPS v1 and v2 (PyTorch names) to the folder that transformers reads.

Strict: every tensor is used, and none is missing, but the temperature, which only the text file has.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tips_med.encoders.tips.extra import quiet, tipsv2
from tips_med.encoders.tips.layout import (
    Tensors,
    text_layout,
    text_tensors,
    tips_config,
    vision_layout,
    vision_tensors,
)
from tips_med.errors import MissingExtraError, OutputError, TipsMedError, WeightsError
from tips_med.folders import whole_folder

if TYPE_CHECKING:
    from transformers.models.tipsv2 import Tipsv2Model


_UNREADABLE = (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise for files that are cut off, are no npz, or hold something else than arrays."""


def convert_npz(
    vision_npz: str | Path,
    text_npz: str | Path,
    tokenizer_model: str | Path,
    folder: str | Path,
    *,
    heads: int | None = None,
) -> Path:
    """Writes a folder that ``load_tips`` reads, from two published npz files and the tokenizer.

    Args:
        vision_npz: The image tower, such as ``tips_v2_oss_b14_vision.npz``.
        text_npz: The text tower of the same model.
        tokenizer_model: The SentencePiece file ``tokenizer.model`` that is published beside them.
        folder: Folder to write to, new or empty.
        heads: Attention heads, for a width that was never published.

    Returns:
        The folder.

    Raises:
        WeightsError: For files that are missing, damaged, of another model, or do not belong together.
        OutputError: When the folder cannot be written, or holds something already.
        MissingExtraError: The extra is not installed.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("it holds something already", path=folder, expected="a new or an empty folder")
    model = model_from_npz(vision_npz, text_npz, heads=heads)
    tokenizer = read_tokenizer(Path(tokenizer_model), model.text_model.config.vocab_size)
    try:
        with whole_folder(folder) as partial:
            with quiet():
                model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    except OSError as error:
        raise OutputError(f"it cannot be written ({error.strerror or error})", path=folder) from error
    return folder


def model_from_npz(vision_npz: str | Path, text_npz: str | Path, *, heads: int | None = None) -> Tipsv2Model:
    """Both towers of transformers, filled from two published npz files; see ``convert_npz``."""
    vision, text = read_npz(vision_npz), read_npz(text_npz)
    with _in_file(text_npz):
        temperature = text.pop("temperature", None)
        text_sizes = text_layout(_shapes(text), heads)
        if temperature is None or temperature.numel() != 1:
            raise WeightsError("no temperature", expected="a text checkpoint, which holds one", code="other-model")
        text_state = rename(text, text_tensors(text_sizes))
    with _in_file(vision_npz):
        vision_sizes = vision_layout(_shapes(vision), heads)
        vision_state = rename(vision, vision_tensors(vision_sizes))
        config = tips_config(vision_sizes, text_sizes, float(temperature))
    model = tipsv2().Tipsv2Model(config)
    model.vision_model.load_state_dict(vision_state)
    model.text_model.load_state_dict(text_state)
    with torch.no_grad():
        model.temperature.copy_(temperature.reshape(()))
    return model.eval()


def read_npz(path: str | Path) -> dict[str, Tensor]:
    """The arrays of an npz file as float32.

    Raises:
        WeightsError: When it is missing, truncated, not an npz file, or holds anything but finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError("no such file", path=path, expected="an npz checkpoint", code="missing-weights")
    arrays: dict[str, Tensor] = {}
    try:
        # Opened here, for numpy leaves a file open that it cannot read.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = torch.from_numpy(np.asarray(archive[name]).astype(np.float32))
    except _UNREADABLE as error:
        raise WeightsError(
            "it is truncated, damaged, or not an npz file",
            path=path,
            expected="a published TIPS checkpoint",
            remedy="download it again",
            code="damaged-weights",
        ) from error
    for name, array in arrays.items():
        if not bool(torch.isfinite(array).all()):
            raise WeightsError(f"{name} holds values that are not finite", path=path, code="damaged-weights")
    return arrays


def rename(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensors]) -> dict[str, Tensor]:
    """Published tensors under the names of transformers, packed ones cut into their parts.

    Raises:
        WeightsError: ``other-model`` when a tensor is missing, left over, or of another shape.
    """
    missing, left = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or left:
        found = " and ".join(text for text in (_count(missing, "missing"), _count(left, "that do not belong")) if text)
        raise WeightsError(found, expected="the tensors of one TIPS tower", code="other-model")
    state: dict[str, Tensor] = {}
    for name, place in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != place.shape:
            raise WeightsError(
                f"{name} has the shape {list(tensor.shape)}", expected=f"{list(place.shape)}", code="other-model"
            )
        state.update(zip(place.targets, (part.clone() for part in tensor.chunk(len(place.targets))), strict=True))
    return state


def read_tokenizer(path: Path, vocabulary: int):
    """The tokenizer of a ``tokenizer.model`` file, or of a folder that holds one.

    Args:
        path: The file or folder.
        vocabulary: Tokens that the text tower knows.

    Raises:
        WeightsError: When it is missing, damaged, or of another model.
    """
    is_file = path.is_file()
    if not is_file and not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise WeightsError(
            "no tokenizer", path=path, expected="tokenizer.model or tokenizer.json", code="missing-weights"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = path
        if is_file:
            folder = Path(scratch)
            shutil.copyfile(path, folder / "tokenizer.model")
        if (folder / "tokenizer.model").is_file():
            _check_sentencepiece(folder / "tokenizer.model", path)
        try:
            tokenizer = tipsv2().Tipsv2Tokenizer.from_pretrained(folder, local_files_only=True)
        except TipsMedError:
            raise
        except Exception as error:  # the readers underneath raise what they like, down to bare Exception
            raise WeightsError(
                "the tokenizer cannot be read", path=path, remedy="download it again", code="damaged-weights"
            ) from error
    if len(tokenizer) > vocabulary or tokenizer.pad_token_id != 0:
        raise WeightsError(
            f"a tokenizer of {len(tokenizer)} tokens that pads with {tokenizer.pad_token_id}",
            path=path,
            expected=f"at most the {vocabulary} tokens of the text tower, and 0 as padding",
            code="other-model",
        )
    return tokenizer


def _check_sentencepiece(file: Path, path: Path) -> None:
    # transformers falls back to another reader, in silence, where SentencePiece fails: try SentencePiece first.
    try:
        from sentencepiece import SentencePieceProcessor

        SentencePieceProcessor(model_file=str(file))
    except ImportError:
        tipsv2()
        raise MissingExtraError("tokenizers", "sentencepiece", "tips") from None
    except (RuntimeError, OSError) as error:
        raise WeightsError(
            "it is truncated, or not a SentencePiece model",
            path=path,
            remedy="download it again",
            code="damaged-weights",
        ) from error


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _count(names: list[str], what: str) -> str:
    if not names:
        return ""
    return f"{len(names)} tensors {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


class _in_file:  # noqa: N801 - reads as the statement it is
    """Names the file in every WeightsError that has none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WeightsError) and error.path is None:
            error.path = self.path
