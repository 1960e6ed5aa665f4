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


def zero_shot_head(
    width: int, temperature: float, contrast: TextFeatures | None = None, cosine_margin: float = 0.0
) -> AlignmentHead:
    """An alignment head that gives TIPS's own scores, and is where fine-tuning begins.

    The logit is (cosine with the phrase - cosine with the contrast - margin) / temperature: zero where a patch is as
    much like the contrast as like the query. For unit patches and unit pooled phrases; it has no use for fine
    features. Its probabilities are not calibrated, and nothing is known of how well they separate findings.

    Args:
        width: Embedding size of both towers.
        temperature: Temperature of the checkpoint, above 0.
        contrast: Embedding of a phrase for everything else, such as ``normal tissue``; without it the margin alone
            decides, and cosines of TIPS have no natural zero.
        cosine_margin: Minimum difference of the two cosines.
    """
    head = AlignmentHead(width, width, 1)
    scale = width**0.5 / temperature  # patch_scores divides by the square root of the width
    with torch.no_grad():
        for zeroed in (head.to_fine.weight, head.to_fine.bias, head.bias.weight):
            zeroed.zero_()
        head.to_patch.weight.copy_(torch.eye(width) * scale)
        head.to_patch.bias.zero_()
        if contrast is not None:
            head.to_patch.bias.copy_(-scale * functional.normalize(contrast.pooled[0].float(), dim=-1))
        head.bias.bias.fill_(-cosine_margin / temperature)
    return head
