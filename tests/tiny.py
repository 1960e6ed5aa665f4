"""The compact networks at toy size, with random weights."""

from __future__ import annotations

import torch

from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact import CompactConfig, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.query import Lexicon

CONFIG = CompactConfig(
    widths=(8, 8, 8, 16, 16), blocks=(0, 1, 1, 1, 1), attention_blocks=1, heads=2, patch_width=8, fine_width=4
)


def tiny_nets(seed: int = 0) -> tuple[CompactNet, CompactTextNet, AlignmentHead]:
    torch.manual_seed(seed)
    words = CompactTextConfig(Lexicon.load("chest_ct").vocabulary, width=16, layers=1, heads=2)
    return CompactNet(CONFIG), CompactTextNet(words), AlignmentHead(16, CONFIG.patch_width, CONFIG.fine_width)
