"""The places that an index knows: sides, and heights and lobes within the lungs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tips_med.body import Body
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.coverage import HEIGHTS_OF_LOBE, LOBES, THIRDS, Place, requested_places, search_region
from tips_med.grounding.thorax import Thorax
from tips_med.query import Query

SIDES: tuple[str, ...] = ("any", "right", "left")
"""Sides of the patient for which evidence is stored; ``any`` is either."""

LABELS: dict[str, tuple[int, ...]] = {"any": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,)}
"""Sides of the patient as labels of a chest, by name."""

HEIGHTS: tuple[Place | None, ...] = (None, *dict.fromkeys(LOBES.get(one, bounds) for one, bounds in THIRDS.items()))
"""Parts of a lung for which evidence is stored: lobes, and bounds on height, 0 lowest to 1 highest; None for all."""


def heights_of(query: Query) -> tuple[int, ...]:
    """Positions in ``HEIGHTS`` of the parts that a query asks for; any of them will do."""
    return tuple(HEIGHTS.index(place) for place in requested_places(query)) or (0,)


def bounds_of(place: Place | None) -> tuple[float, float] | None:
    """Bounds on height of a part of a lung; those of a lobe are wide, as its fissures are steep."""
    return HEIGHTS_OF_LOBE[place] if isinstance(place, str) else place


def lobes_of(thorax: Thorax, body: Body) -> dict[tuple[int, str], np.ndarray]:
    """Where a finding of each lobe is searched, bool [slab y x], by side and lobe; none without known lungs."""
    if not thorax.seen:
        return {}
    # One side at a time, whether or not it is known which one it is.
    found = {lobe: search_region(thorax, body, (RIGHT, LEFT), (lobe,)).mask for lobe in HEIGHTS_OF_LOBE}
    return {(label, lobe): mask & (thorax.side == label) for lobe, mask in found.items() for label in (RIGHT, LEFT)}


def highest_by_place(
    logits: np.ndarray, thorax: Thorax, inside: np.ndarray, lobes: Mapping[tuple[int, str], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The highest evidence of a map in every place, as ``assess`` would find it.

    Heights within a lung are whole slabs, so for these a maximum for each slab and side is enough.

    Args:
        logits: Evidence, [slab y x]; see ``tips_med.grounding.evidence.evidence_map``.
        thorax: Chest on the same grid.
        inside: Mask of the body, bool [slab y x]; searched where no lung is seen.
        lobes: Masks from ``lobes_of``.

    Returns:
        The highest evidence, float32 [side height], in the order of ``SIDES`` and ``HEIGHTS``, and whether the place is
        known in this scan, bool of the same shape.
    """
    shape = (len(SIDES), len(HEIGHTS))
    if not thorax.seen:
        known = np.zeros(shape, bool)
        known[0, 0] = True
        known[1:, 0] = thorax.sides_known
        return np.full(shape, _highest(logits, inside), np.float32), known
    by_slab = {
        label: np.array([_highest(*pair) for pair in zip(logits, thorax.side == label)]) for label in (RIGHT, LEFT)
    }
    by_lobe = {part: _highest(logits, mask) for part, mask in lobes.items()}
    found, known = np.full(shape, _LOWEST, np.float32), np.zeros(shape, bool)
    for s, side in enumerate(SIDES):
        # Where the sides are not known, either may be the one that is meant.
        wanted = LABELS[side] if thorax.sides_known else LABELS["any"]
        for h, place in enumerate(HEIGHTS):
            parts = [_within(thorax, label, bounds_of(place)) for label in wanted]
            highest = [
                by_lobe[label, place] if isinstance(place, str) else by_slab[label][slabs].max(initial=_LOWEST)
                for label, (slabs, _) in zip(wanted, parts)
            ]
            found[s, h] = max(highest)
            known[s, h] = all(sure for _, sure in parts) and (thorax.sides_known or side == "any")
    return found, known


_LOWEST = np.float32(-13.8)


def _highest(logits: np.ndarray, where: np.ndarray) -> float:
    return float(logits[where].max(initial=_LOWEST))


def _within(thorax: Thorax, label: int, bounds: tuple[float, float] | None) -> tuple[np.ndarray, bool]:
    """The slabs of a side within bounds on height, and whether its heights are known; all slabs where they are not."""
    height = thorax.height[label - 1]
    every = np.ones(len(height), bool)
    if bounds is None or thorax.parts[label - 1].volume_ml == 0:
        return every, True
    if np.isnan(height).all():
        return every, False
    return (height >= bounds[0]) & (height <= bounds[1]), True
