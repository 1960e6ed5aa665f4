"""The compact networks at toy size, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.compact import CompactConfig, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.model import GroundingModel, load_model
from tips_med.model_files import save_model
from tips_med.query import Lexicon
from tips_med.training.towers.adapter import TrainableAdapter

CONFIG = CompactConfig(
    widths=(8, 8, 8, 16, 16), blocks=(0, 1, 1, 1, 1), attention_blocks=1, heads=2, patch_width=8, fine_width=4
)
CARD = ModelCard("tiny", ("nodule",))


def tiny_nets(seed: int = 0) -> tuple[CompactNet, CompactTextNet, AlignmentHead]:
    torch.manual_seed(seed)
    words = CompactTextConfig(Lexicon.load("chest_ct").vocabulary, width=16, layers=1, heads=2)
    return CompactNet(CONFIG), CompactTextNet(words), AlignmentHead(16, CONFIG.patch_width, CONFIG.fine_width)


def tiny_model(folder: Path) -> GroundingModel:
    """A model of these networks, from its file."""
    save_model(folder / "base.safetensors", *tiny_nets(), CARD)
    return load_model(folder / "base.safetensors")


def with_adapter(
    base: GroundingModel,
    folder: Path,
    phrases: Sequence[str],
    words: Sequence[str] = (),
    structures: Sequence[str] = ("lung", "liver"),
) -> GroundingModel:
    """A model with one more adapter, which has moved away from where it started; its card knows some structures."""
    towers = TrainableAdapter(base, phrases, words)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in towers.adapter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir(parents=True, exist_ok=True)
    return load_model(towers.save(folder, replace(CARD, structures=tuple(structures))))
