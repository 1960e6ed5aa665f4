# Copied from tips_med/grounding/coverage.py by copies.py: change it there.
"""What of the searched region a scan shows: the first of the two steps of an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med_runtime.body import Body
from tips_med_runtime.geometry import LEFT, RIGHT
from tips_med_runtime.grounding.answer import Coverage, Reason
from tips_med_runtime.grounding.thorax import SIDES, Thorax
from tips_med_runtime.query import Query

MIN_ASSESSED_FRACTION = 0.9
"""Minimum share of each searched side that must be seen before anything in it is called absent."""

THIRDS = {
    # Bounds on height within the lung, 0 at its lowest and 1 at its highest point.
    "upper_third": (2 / 3, 1.0),
    "upper_zone": (2 / 3, 1.0),
    "apex": (0.8, 1.0),
    "middle_third": (1 / 3, 2 / 3),
    "middle_zone": (1 / 3, 2 / 3),
    "lower_third": (0.0, 1 / 3),
    "lower_zone": (0.0, 1 / 3),
    "base": (0.0, 1 / 3),
    # Lobes overlap in height, since the fissures are steep, and this model does not outline them.
    "upper_lobe": (0.35, 1.0),
    "middle_lobe": (0.1, 0.6),
    "lingula": (0.1, 0.6),
    "lower_lobe": (0.0, 0.7),
}
LOBES = ("upper_lobe", "middle_lobe", "lingula", "lower_lobe")


@dataclass(frozen=True, eq=False)
class Region:
    """The searched region, and how much of it was seen.

    Attributes:
        where: Mask of the region, bool [slab y x].
        coverage: How much of the region the scan shows.
    """

    mask: np.ndarray
    coverage: Coverage


def requested_heights(query: Query) -> tuple[tuple[float, float], ...]:
    """Bounds on height that the query's locations set; several places are united, so any of them will do."""
    return tuple(THIRDS[location.id] for location in query.locations if location.id in THIRDS)


def search_region(
    thorax: Thorax, body: Body, labels: tuple[int, ...], heights: tuple[tuple[float, float], ...]
) -> Region:
    """The searched part of the chest, and how much of it was seen.

    Args:
        thorax: Chest of the scan.
        body: Body of the scan.
        labels: Searched sides: 1 right, 2 left, or both.
        heights: Bounds from ``requested_heights``; the whole height when empty.
    """
    reasons: list[Reason] = []
    if not thorax.seen:
        return Region(body.inside.copy(), Coverage(0.0, False, thorax.sides_known, False, ("no-lung-seen",)))
    one_sided = len(labels) == 1
    side_known = thorax.sides_known or not one_sided
    # Where the sides are not known, either may be the one that is meant: all of it is searched.
    wanted = labels if thorax.sides_known else (RIGHT, LEFT)
    where = np.isin(thorax.side, wanted)
    fractions = []
    height_known = True
    for label in wanted:
        part = thorax.parts[label - 1]
        fraction = part.assessed_fraction
        height = thorax.height[label - 1]
        if part.volume_ml == 0:
            reasons.append("outside-field-of-view" if _cut_off(body, label, thorax.sides_known) else "not-aerated")
        else:
            if part.gap:
                reasons.append("gap")
            if not part.aerated:
                reasons.append("not-aerated")
                fraction = min(fraction, 0.5)
            if heights and np.isnan(height).all():
                height_known = False
            elif heights:
                inside = np.any([(height >= low) & (height <= high) for low, high in heights], axis=0)
                where &= ~(thorax.side == label) | inside[:, None, None]
                fraction = _of_heights(fraction, part.gap, height, heights)
            if part.cut and fraction < MIN_ASSESSED_FRACTION:
                reasons.append("outside-field-of-view")
        fractions.append(fraction)
    if not side_known:
        reasons.append("side-unknown")
    if not height_known:
        reasons.append("height-unknown")
    if not thorax.sides_known:
        reasons.append("side-unknown")
    # Where the sides are unknown, so is whether both of them are in the scan.
    whole = bool(min(fractions) >= MIN_ASSESSED_FRACTION and thorax.sides_known)
    coverage = Coverage(float(np.mean(fractions)), whole, side_known, height_known, tuple(dict.fromkeys(reasons)))
    return Region(where, coverage)


def _of_heights(fraction: float, gap: bool, height: np.ndarray, heights: tuple[tuple[float, float], ...]) -> float:
    """How much of the requested heights was seen: a lung that ends early lacks its own end, not the other one."""
    shown = height[np.isfinite(height)]
    if gap or not len(shown):
        return fraction
    # A lung with both its ends, or whose heights come from the other lung: what is cut at an edge remains in
    # ``fraction``; what is cut at an end shows as heights that no slab has.
    low, high = min(low for low, _ in heights), max(high for _, high in heights)
    step = float(np.median(np.diff(shown))) if len(shown) > 1 else 1.0
    reached = np.clip((min(high, shown.max() + step) - max(low, shown.min() - step)) / (high - low), 0, 1)
    return float(min(reached, fraction if reached > 0.99 else 1.0))


def _cut_off(body: Body, label: int, sides_known: bool) -> bool:
    """Whether the field of view, and not the patient, lacks a side."""
    if not sides_known:
        return True
    holds = body.inside.any(axis=(1, 2))
    return bool(holds.any() and body.cut[SIDES[label]][holds].mean() > 0.3)
