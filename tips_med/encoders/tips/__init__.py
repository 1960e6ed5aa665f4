"""Genuine TIPS and TIPSv2 towers (Maninis 2025, arXiv:2410.16512; Cao 2026, arXiv:2604.12012) as the backbone.

The networks and the tokenizer are those of transformers (``models/tipsv2``), which the extra ``tips-med[tips]``
brings; nothing of it is imported before it is used.
"""

from tips_med.encoders.tips.convert import convert_npz
from tips_med.encoders.tips.image import NEIGHBOUR_SLABS, WINDOW_SLABS, PatchMode, TipsEncoder
from tips_med.encoders.tips.scores import patch_cosines, patch_logits, patch_probabilities, zero_shot_head
from tips_med.encoders.tips.text import CT_TEMPLATES, PHOTO_TEMPLATES, TipsTextTower
from tips_med.encoders.tips.tuning import FineTuning, merge_lora, prepare_finetuning
from tips_med.encoders.tips.weights import TipsTowers, load_tips, save_tips

__all__ = [
    "CT_TEMPLATES",
    "NEIGHBOUR_SLABS",
    "PHOTO_TEMPLATES",
    "WINDOW_SLABS",
    "FineTuning",
    "PatchMode",
    "TipsEncoder",
    "TipsTextTower",
    "TipsTowers",
    "convert_npz",
    "load_tips",
    "merge_lora",
    "patch_cosines",
    "patch_logits",
    "patch_probabilities",
    "prepare_finetuning",
    "save_tips",
    "zero_shot_head",
]
