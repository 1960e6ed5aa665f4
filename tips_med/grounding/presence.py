"""Is it there at all? A calibrated probability, and the honest middle."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.grounding.answer import Presence
from tips_med.model import Calibration
from tips_med.query import Query
from tips_med.shapes import Heat

_EDGE = 1e-4


def evidence(heat: Heat) -> tuple[float, tuple[int, int, int]]:
    """How sure a map is where it is surest.

    The logit of the probability is averaged over three slabs, rows and columns, so that a single hot cell counts for
    little, and its maximum is taken.

    Args:
        heat: Probability, [slab y x], NaN where nothing was seen.

    Returns:
        The evidence in logits, and the index (slab, y, x) of its maximum.
    """
    probability = np.clip(np.nan_to_num(heat), _EDGE, 1 - _EDGE)
    hot = np.argwhere(probability > 0.02)
    low, high = (hot.min(axis=0), hot.max(axis=0) + 1) if len(hot) else (np.zeros(3, int), np.array(heat.shape))
    low, high = np.maximum(low - 1, 0), np.minimum(high + 1, heat.shape)
    part = probability[tuple(slice(a, b) for a, b in zip(low, high))]
    smooth = ndimage.uniform_filter(np.log(part / (1 - part)), 3, mode="nearest")
    at = np.unravel_index(int(smooth.argmax()), smooth.shape)
    slab, y, x = (int(n) for n in np.add(at, low))
    return float(smooth[at]), (slab, y, x)


def judge(logit: float, calibration: Calibration, query: Query, *, assessable: bool = True) -> Presence:
    """Turns evidence into an answer.

    Args:
        logit: From ``evidence``.
        calibration: Of the finding.
        query: What was asked; a negated query is also told whether its statement holds.
        assessable: False when the organ is not in the scan: then there is nothing to be sure of.
    """
    probability = float(1 / (1 + np.exp(-np.clip(calibration.slope * logit + calibration.intercept, -30, 30))))
    if not assessable:
        return Presence("unsure", probability)
    if probability >= calibration.present_above:
        return Presence("present", probability, False if query.negated else None)
    if probability < calibration.absent_below:
        return Presence("absent", probability, True if query.negated else None)
    return Presence("unsure", probability)
