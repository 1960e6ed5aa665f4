"""Is it there at all? A calibrated probability, and the honest middle."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.grounding.answer import Presence
from tips_med.model import Calibration
from tips_med.query import Query
from tips_med.shapes import Heat

_EDGE = 1e-6


def evidence_map(heat: Heat) -> Heat:
    """How sure a map is of every place: its logit, averaged over three slabs, rows and columns.

    A single hot cell counts for little; what was not seen is no evidence.

    Args:
        heat: Probability, [slab y x], NaN where nothing was seen.

    Returns:
        Logits, the same shape, within +-13.8.
    """
    probability = np.clip(np.nan_to_num(heat), _EDGE, 1 - _EDGE)
    return ndimage.uniform_filter(np.log(probability / (1 - probability)), 3, mode="nearest")


def evidence(heat: Heat) -> tuple[float, tuple[int, int, int]]:
    """How sure a map is where it is surest: the maximum of ``evidence_map``, and its index (slab, y, x)."""
    sure = evidence_map(heat)
    slab, y, x = (int(n) for n in np.unravel_index(int(sure.argmax()), sure.shape))
    return float(sure[slab, y, x]), (slab, y, x)


def judge(logit: float, calibration: Calibration, query: Query, *, assessable: bool = True) -> Presence:
    """Turns evidence into an answer.

    Args:
        logit: From ``evidence``.
        calibration: Of the finding.
        query: What was asked; a negated query is also told whether its statement holds.
        assessable: False when the organ is not in the scan: then there is nothing to be sure of.
    """
    probability = calibration.probability(logit)
    if not assessable:
        return Presence("unsure", probability)
    if probability >= calibration.present_above:
        return Presence("present", probability, False if query.negated else None)
    if probability < calibration.absent_below:
        return Presence("absent", probability, True if query.negated else None)
    return Presence("unsure", probability)
