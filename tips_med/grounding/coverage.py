"""What of the searched region a scan shows: the first of the two steps of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tips_med.body import Body
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.answer import Coverage, Reason
from tips_med.grounding.lobes import Lobe, LungFrame, depth_in_lobe_mm, frame_of_side, mean_fissures
from tips_med.grounding.thorax import SIDES, Thorax
from tips_med.query import Query

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
    # Lobes overlap in height, since the fissures are steep: these serve where a lung's shape is not shown whole.
    "upper_lobe": (0.35, 1.0),
    "middle_lobe": (0.1, 0.6),
    "lingula": (0.1, 0.6),
    "lower_lobe": (0.0, 0.7),
}
LOBES: dict[str, Lobe] = {
    "upper_lobe": "upper",
    "middle_lobe": "middle",
    "lingula": "middle",
    "lower_lobe": "lower",
}
"""Locations that are lobes; the lingula lies where the middle lobe lies on the other side."""

HEIGHTS_OF_LOBE: dict[Lobe, tuple[float, float]] = {lobe: THIRDS[place] for place, lobe in LOBES.items()}

Place = tuple[float, float] | Lobe
"""A part of a lung: bounds on height, or a lobe."""


@dataclass(frozen=True, eq=False)
class Region:
    """The searched region, and how much of it was seen.

    Attributes:
        mask: Mask of the region, bool [slab y x].
        coverage: How much of the region the scan shows.
        notes: How lobes were taken: ``lobe-by-estimate``, ``height-by-estimate``, or both.
    """

    mask: np.ndarray
    coverage: Coverage
    notes: tuple[Reason, ...] = ()


def requested_places(query: Query) -> tuple[Place, ...]:
    """Parts of a lung that the query's locations name; several places are united, so any of them will do."""
    found = [location.id for location in query.locations if location.id in THIRDS]
    return tuple(LOBES[one] if one in LOBES else THIRDS[one] for one in found)


def search_region(
    thorax: Thorax, body: Body, labels: tuple[int, ...], places: tuple[Place, ...], *, outline: bool = False
) -> Region:
    """The searched part of the chest, and how much of it was seen.

    Args:
        thorax: Chest of the scan.
        body: Body of the scan.
        labels: Searched sides: 1 right, 2 left, or both.
        places: Parts from ``requested_places``; the whole lung when empty.
        outline: Whether a lobe itself is asked for. Else it is searched with a margin, so that a finding near a fissure
            isn't lost; see ``tips_med.grounding.lobes``.
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
    notes: list[Reason] = []
    lobes = any(isinstance(place, str) for place in places)
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
            frame = frame_of_side(thorax, label) if lobes else None
            if places and np.isnan(height).all():
                height_known = False
            elif frame is not None:
                # Shown whole, so that what was seen of the lung was seen of its lobes.
                notes.append("lobe-by-estimate")
                where &= ~(thorax.side == label) | _in_places(frame, height, places, outline)
            elif places:
                heights = tuple(HEIGHTS_OF_LOBE[one] if isinstance(one, str) else one for one in places)
                where &= ~(thorax.side == label) | _in_heights(height, heights)[:, None, None]
                fraction = _of_heights(fraction, part.gap, height, heights)
            if lobes and frame is None:
                notes.append("height-by-estimate")
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
    if lobes and not notes:
        notes.append("height-by-estimate")
    return Region(where, coverage, tuple(dict.fromkeys(notes)))


def _in_heights(height: np.ndarray, heights: Iterable[tuple[float, float]]) -> np.ndarray:
    """Slabs within any of some bounds, bool [slab]."""
    return np.any([(height >= low) & (height <= high) for low, high in heights], axis=0)


def _in_places(frame: LungFrame, height: np.ndarray, places: tuple[Place, ...], outline: bool) -> np.ndarray:
    """Places of a lung within any of some lobes and bounds on height, bool [slab y x]."""
    margin_mm = 0.0 if outline else mean_fissures().margin_mm
    # As with heights, nothing above and below the lung is a part of it.
    within = np.isfinite(height)[:, None, None]
    found = [
        (depth_in_lobe_mm(frame, one) >= -margin_mm) & within
        if isinstance(one, str)
        else _in_heights(height, (one,))[:, None, None]
        for one in places
    ]
    return np.logical_or.reduce(np.broadcast_arrays(*found))


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
