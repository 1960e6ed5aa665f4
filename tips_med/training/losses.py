"""Losses for dense alignment of phrases with patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def map_loss(logits: Tensor, target: Tensor, known: Tensor, hardest: float = 0.01) -> Tensor:
    """Sigmoid cross-entropy, the same over its hardest cells, and soft Dice where there is something to find.

    The hardest cells are what false positives are made of: a mean over a body of empty voxels hides them.

    Args:
        logits: Logits, [map slab y x].
        target: Target, 0 to 1, the same shape.
        known: 1 where the target counts, 0 where it is unknown; the same shape.
        hardest: Share of cells that counts as hard, 0 to 1.

    Returns:
        One loss a map, [map].
    """
    cells = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    flat = cells.flatten(1)
    mean = flat.sum(1) / known.flatten(1).sum(1).clamp(min=1)
    hard = flat.topk(max(1, int(hardest * flat.shape[1])), dim=1).values.mean(1)
    share = logits.sigmoid() * known
    wanted = target * known
    overlap = (share * wanted).flatten(1).sum(1)
    size = wanted.flatten(1).sum(1)
    dice = 1 - (2 * overlap + 1) / (share.flatten(1).sum(1) + size + 1)
    return 4 * mean + 0.3 * hard + torch.where(size > 0, dice, torch.zeros_like(dice))


def presence_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of the two cells that an answer of present or absent depends on.

    The surest place inside what is there should be high, the surest place outside of it low. "Sure" is a mean over
    three slabs and 4 x 4 cells, much as ``tips_med.grounding.presence`` takes it. What is smaller than that is inside
    where it is covered best.

    Args:
        logits: Logits, [map slab y x].
        target: Target, 0 to 1, the same shape.
        known: 1 where the target counts; the same shape.

    Returns:
        One loss a map, [map].
    """
    size, step = (min(3, logits.shape[1]), 4, 4), (1, 2, 2)
    sure = functional.avg_pool3d(logits[:, None], size, step).flatten(1)
    there = functional.avg_pool3d((target * known)[:, None], size, step).flatten(1)
    counted = functional.avg_pool3d(known[:, None], size, step).flatten(1) > 0.99
    outside = sure.masked_fill((there > 0) | ~counted, -torch.inf).amax(1)
    most = there.amax(1, keepdim=True)
    inside = sure.masked_fill((there < (0.7 * most).clamp(max=0.3)) | (most <= 0), -torch.inf).amax(1)
    # softplus(-inf) is zero: a map without an outside has nothing to deny.
    denied = functional.softplus(outside)
    found = torch.where(inside.isinf(), torch.zeros_like(inside), functional.softplus(-inside.clamp(min=-1e4)))
    return denied + found


def patch_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Sigmoid cross-entropy of patch scores against how much of each patch the mask covers.

    Args:
        logits: Logits of patches, [map slab row col].
        target: Target on the fine grid, 0 to 1, [map slab y x].
        known: 1 where the target counts, on the fine grid.

    Returns:
        One loss a map, [map].
    """
    size = target.shape[-1] // logits.shape[-1]
    weight = functional.avg_pool2d(known, size)
    cover = functional.avg_pool2d(target * known, size) / weight.clamp(min=1e-3)
    cells = functional.binary_cross_entropy_with_logits(logits, cover.clamp(0, 1), reduction="none") * weight
    return cells.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)
