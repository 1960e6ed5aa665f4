"""A compact model: two towers, a head and a card in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard, card_from_dict
from tips_med.encoders.base import ImageTower, TextTower
from tips_med.encoders.compact import CompactConfig, CompactImageTower, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet, CompactTextTower
from tips_med.errors import OutputError, WeightsError
from tips_med.folders import whole_file
from tips_med.slabs import SlabSpec

FORMAT = "tips_med-compact-1"
SHIPPED = "chest_ct"
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
    """

    image: ImageTower
    text: TextTower
    head: AlignmentHead
    card: ModelCard
    sha256: str

    @property
    def identity(self) -> str:
        """Name and short hash: ``compact chest CT (1a2b3c4d5e6f)``."""
        return f"{self.card.name} ({self.sha256[:12]})"


def save_model(path: Path, image: CompactNet, text: CompactTextNet, head: AlignmentHead, card: ModelCard) -> None:
    """Writes networks in half precision, with their sizes, words and card in the file's metadata.

    Raises:
        OutputError: It cannot be written there; an existing file is unchanged.
    """
    tensors: dict[str, Tensor] = {}
    for part, net in (("image", image), ("text", text), ("head", head)):
        tensors |= {
            f"{part}.{key}": value.detach().cpu().half().contiguous() for key, value in net.state_dict().items()
        }
    metadata = {
        "format": FORMAT,
        "image": json.dumps(dataclasses.asdict(image.config)),
        "text": json.dumps(dataclasses.asdict(text.config)),
        "card": json.dumps(dataclasses.asdict(card)),
    }
    try:
        with whole_file(path) as partial:
            save_file(tensors, partial, metadata)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot be written ({error})", path=path, remedy="make room and run it again") from error


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
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file ({error})", path=file) from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"weights of format {metadata.get('format', 'unknown')!r}", path=file, expected=repr(FORMAT), code="format"
        )
    try:
        image = CompactNet(_image_config(json.loads(metadata["image"])))
        text = CompactTextNet(_words_config(json.loads(metadata["text"])))
        card = card_from_dict(json.loads(metadata["card"]))
        head = AlignmentHead(text.config.width, image.config.patch_width, image.config.fine_width)
        for part, net in (("image", image), ("text", text), ("head", head)):
            net.load_state_dict({k.removeprefix(part + "."): v for k, v in tensors.items() if k.startswith(part + ".")})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"its metadata and its tensors do not fit together ({error})", path=file) from error
    image.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return GroundingModel(CompactImageTower(image), CompactTextTower(text.to(device)), head.eval(), card, digest)


def slab_spec_from_dict(raw: dict[str, Any]) -> SlabSpec:
    """Slabs from JSON."""
    windows = tuple((low, high) for low, high in raw["windows_hu"])
    slab, row, column = raw["spacing_mm"]
    return SlabSpec(**{**raw, "windows_hu": windows, "spacing_mm": (slab, row, column)})


def _image_config(raw: dict[str, Any]) -> CompactConfig:
    slabs = slab_spec_from_dict(raw.pop("slabs"))
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return CompactConfig(slabs=slabs, **sizes)


def _words_config(raw: dict[str, Any]) -> CompactTextConfig:
    return CompactTextConfig(**{**raw, "vocabulary": tuple(raw["vocabulary"])})
