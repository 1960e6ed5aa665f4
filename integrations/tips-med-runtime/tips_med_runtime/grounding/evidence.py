# Copied from tips_med/grounding/evidence.py by copies.py: change it there.
"""How sure a map is, and where it is surest."""

from __future__ import annotations

import numpy as np

from tips_med_runtime.geometry import box_around
from tips_med_runtime.shapes import Heat

_EDGE = 1e-6

MIN_SEEN_FRACTION = 0.3
"""Minimum share of a neighbourhood that must be seen to count as evidence."""

MIN_LOGIT = -13.8
"""The lowest logit that a map can have."""


def evidence_map(heat: Heat) -> Heat:
    """How sure a map is of every place: its logit, averaged over three slabs, rows and columns.

    A single hot cell counts for little. Cells that were not seen are left out of the average: a missing slice is no
    evidence that nothing is there.

    Args:
        heat: Scores, [slab y x], NaN where nothing was seen.

    Returns:
        Logits, the same shape, within +-13.8; -13.8 where too little of the neighbourhood was seen.
    """
    seen = np.isfinite(heat)
    all_seen = bool(seen.all())
    odds = np.clip(heat if all_seen else np.where(seen, heat, np.float32(0.5)), _EDGE, 1 - _EDGE)
    odds /= 1 - odds
    logit = mean_filter(np.log(odds, out=odds), 3)
    if all_seen:
        return logit
    share = mean_filter(seen.astype(np.float32), 3)
    # An unseen cell adds a logit of zero, so that division by the seen share leaves it out.
    mean = np.clip(logit / np.maximum(share, 1e-6), MIN_LOGIT, -MIN_LOGIT)
    return np.where(share >= MIN_SEEN_FRACTION, mean, np.float32(MIN_LOGIT)).astype(heat.dtype)


def evidence_within(heat: Heat, region: np.ndarray) -> Heat:
    """``evidence_map`` where a region is, and ``MIN_LOGIT`` around it; quick where the region is small.

    Args:
        heat: Scores, [slab y x], NaN where nothing was seen.
        region: Region, bool [slab y x].
    """
    logits = np.full(heat.shape, MIN_LOGIT, heat.dtype)
    # Of the margin's cells, whose own neighbours are left out, none is in the region.
    if (box := box_around(region, margin=1)) is not None:
        logits[box] = evidence_map(heat[box])
    return logits


def mean_filter(values: np.ndarray, size: int) -> np.ndarray:
    """The mean over a cube of ``size`` cells (odd) around every cell; the edge's values stand for those beyond."""
    reach = size // 2
    sums = np.pad(values, reach, mode="edge")
    for axis in range(values.ndim):
        n = sums.shape[axis] - 2 * reach
        lead = (slice(None),) * axis
        total = sums[(*lead, slice(0, n))].copy()
        for first in range(1, size):
            total += sums[(*lead, slice(first, first + n))]
        sums = total
    sums /= size**values.ndim
    return sums


def peak_evidence(heat: Heat, region: np.ndarray | None = None) -> tuple[float, tuple[int, int, int]]:
    """How sure a map is where it is surest: the maximum of ``evidence_map``, and its index (slab, y, x).

    Args:
        heat: Scores, [slab y x], NaN where nothing was seen.
        region: Region to search, bool [slab y x]; everywhere when None.
    """
    return peak_logit(evidence_map(heat), region)


def peak_logit(logits: Heat, region: np.ndarray | None = None) -> tuple[float, tuple[int, int, int]]:
    """The highest logit of an evidence map within a region, and its index; ``MIN_LOGIT`` where the region is empty."""
    if region is not None:
        logits = np.where(region, logits, np.float32(MIN_LOGIT))
    slab, y, x = (int(n) for n in np.unravel_index(int(logits.argmax()), logits.shape))
    return float(logits[slab, y, x]), (slab, y, x)
