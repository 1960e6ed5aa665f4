"""Losses of phrases and patches that have to find each other, and of sentences about a whole study."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def weak_loss(logits: Tensor, presence: Tensor, used: Tensor, pool_share: float = 0.001) -> Tensor:
    """Is it there at all? The highest cells of each map against a statement about the whole study.

    The map of the words is the one that is pooled, so a report's sentence trains positions, too
    (multiple-instance learning; Ilse 2018). All statements of a study count, each as its own yes or no.

    Args:
        logits: Logits, [crop phrase slab y x].
        presence: 1 or 0 for weak pairs, NaN for others, [crop phrase].
        used: 0 for padding, 1 otherwise, [crop phrase].
        pool_share: Share of the cells that are averaged, 0 to 1.
    """
    weight = used * presence.isfinite()
    cells = logits.flatten(2)
    pooled = cells.topk(max(1, int(pool_share * cells.shape[2])), dim=2).values.mean(2)
    loss = functional.binary_cross_entropy_with_logits(pooled, presence.nan_to_num(), reduction="none")
    return mean_over_crops(loss, weight)


def patch_to_text_loss(
    patch_logits: Tensor, target: Tensor, known: Tensor, used: Tensor, min_cover: float = 0.5
) -> Tensor:
    """Every patch that a phrase covers well has to find it among the phrases of its study.

    Several phrases that cover a patch are all right (multi-positive); a phrase of which nobody knows whether it is
    true of the patch is left out of the choice.

    Args:
        patch_logits: Logits of patches, [crop phrase slab row col].
        target: Target on the fine grid, 0 to 1, [crop phrase slab y x].
        known: 1 where the target counts, 0 where it is unknown, [crop phrase slab y x].
        used: 0 for padding, 1 otherwise, [crop phrase].
        min_cover: Fraction of the phrase's best covered patch that a patch must reach to count as covered, 0 to 1: most
            nodules fill no patch.
    """
    size = target.shape[-1] // patch_logits.shape[-1]
    cover = functional.avg_pool2d(target.flatten(0, 1), size).unflatten(0, used.shape)
    seen = functional.avg_pool2d(known.flatten(0, 1), size).unflatten(0, used.shape)
    valid = (used > 0)[:, :, None, None, None]
    best = cover.flatten(2).amax(2)[:, :, None, None, None]
    right = valid & (cover >= min_cover * best) & (best > 0.02)
    wrong = valid & (seen >= min_cover) & (cover < 0.05 * best.clamp(min=0.02))
    there = right.any(1)
    everything = patch_logits.masked_fill(~(right | wrong), -torch.inf)
    fitting = patch_logits.masked_fill(~right, -torch.inf)
    # Where nothing is right, both are put to 0 before the logarithm, so that no gradient is undefined.
    missing = ~there[:, None]
    loss = everything.masked_fill(missing, 0.0).logsumexp(1) - fitting.masked_fill(missing, 0.0).logsumexp(1)
    weight = there.float().flatten(1)
    return ((loss.flatten(1) * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()


def text_to_patch_loss(
    patch_logits: Tensor, target: Tensor, known: Tensor, weight: Tensor, min_cover: float = 0.5
) -> Tensor:
    """Every phrase, and the word that names what it is about, has to find its patches among those of the crop.

    The other direction of ``patch_to_text_loss``. All patches that it covers well are right; patches of which nobody
    knows are left out of the choice.

    Args:
        patch_logits: Logits of patches, [crop text slab row col]; texts are phrases and words.
        target: Target on the fine grid, 0 to 1, [crop text slab y x].
        known: 1 where the target counts, 0 where it is unknown, [crop phrase slab y x].
        weight: Weight of each text; 0 for padding, [crop text].
        min_cover: See ``patch_to_text_loss``.
    """
    size = target.shape[-1] // patch_logits.shape[-1]
    cover, seen = (
        functional.avg_pool2d(grid.flatten(0, 1), size).unflatten(0, weight.shape).flatten(2)
        for grid in (target * known, known)
    )
    best = cover.amax(2, keepdim=True)
    right = (cover >= min_cover * best) & (best > 0.02)
    wrong = (seen >= min_cover) & (cover < 0.05 * best)
    scores = patch_logits.flatten(2)
    # Not -inf: where nothing is right or wrong, the gradient has to be zero and not undefined.
    fitting = scores.masked_fill(~right, -1e4).logsumexp(2)
    against = scores.masked_fill(~wrong, -1e4).logsumexp(2)
    counts = weight * right.any(2) * wrong.any(2)
    return mean_over_crops(functional.softplus(against - fitting), counts)


def mean_over_crops(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of each crop's phrases, then the mean over crops."""
    return ((values * weight).sum(1) / weight.sum(1).clamp(min=1e-6)).mean()
