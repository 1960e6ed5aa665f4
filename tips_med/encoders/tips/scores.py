"""Patches against phrases, the way TIPS was trained: cosine divided by the checkpoint's temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.alignment import AlignmentHead
from tips_med.encoders.base import ImageFeatures, TextFeatures


def patch_cosines(image: ImageFeatures, texts: Sequence[TextFeatures]) -> Tensor:
    """Cosine of every patch with every phrase, [phrase slab row col], in [-1, 1]."""
    phrases = functional.normalize(torch.cat([text.pooled for text in texts]).float(), dim=-1)
    patches = functional.normalize(image.patches.float(), dim=-1)
    return torch.einsum("qe,srce->qsrc", phrases, patches)


def patch_logits(image: ImageFeatures, texts: Sequence[TextFeatures], temperature: float) -> Tensor:
    """Cosines divided by the temperature, [phrase slab row col]."""
    return patch_cosines(image, texts) / temperature


def patch_probabilities(image: ImageFeatures, texts: Sequence[TextFeatures], temperature: float) -> Tensor:
    """The share of each phrase among those given, [phrase slab row col]; they sum to 1 at every patch.

    Relative to the phrases that it was given beside, and so no probability that a finding is there.
    """
    return patch_logits(image, texts, temperature).softmax(dim=0)


def zero_shot_head(width: int, temperature: float, cosine_at_half: float, fine_width: int = 1) -> AlignmentHead:
    """An alignment head that gives TIPS's own scores: logit = (cosine - ``cosine_at_half``) / temperature.

    For unit patches and unit pooled phrases. It ignores fine features, and is where fine-tuning begins.

    Args:
        width: Embedding size of both towers.
        temperature: From the checkpoint.
        cosine_at_half: The cosine that is given the probability 0.5. No value of it is known to be right for
            radiology: measure it on scans of your own.
        fine_width: Features of a fine cell, for the shape only.
    """
    head = AlignmentHead(width, width, fine_width)
    with torch.no_grad():
        # patch_scores divides by the square root of the width.
        head.to_patch.weight.copy_(torch.eye(width) * width**0.5 / temperature)
        for zeroed in (head.to_patch.bias, head.to_fine.weight, head.to_fine.bias, head.bias.weight):
            zeroed.zero_()
        head.bias.bias.fill_(-cosine_at_half / temperature)
    return head
