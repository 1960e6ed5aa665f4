"""How sure a map is, and where it is surest."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.shapes import Heat

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
    probability = np.clip(np.where(seen, heat, 0.5), _EDGE, 1 - _EDGE)
    logit = ndimage.uniform_filter(np.log(probability / (1 - probability)), 3, mode="nearest")
    if seen.all():
        return logit
    share = ndimage.uniform_filter(seen.astype(np.float32), 3, mode="nearest")
    # An unseen cell adds a logit of zero, so that division by the seen share leaves it out.
    mean = np.clip(logit / np.maximum(share, 1e-6), MIN_LOGIT, -MIN_LOGIT)
    return np.where(share >= MIN_SEEN_FRACTION, mean, np.float32(MIN_LOGIT)).astype(heat.dtype)


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
