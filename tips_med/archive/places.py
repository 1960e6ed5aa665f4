"""The places that an index knows: sides, and heights within the lungs."""

from __future__ import annotations

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.coverage import THIRDS, requested_heights
from tips_med.grounding.thorax import Thorax
from tips_med.query import Query

SIDES: tuple[str, ...] = ("any", "right", "left")
"""Sides of the patient for which evidence is stored; ``any`` is either."""

LABELS: dict[str, tuple[int, ...]] = {"any": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,)}
"""Sides of the patient as labels of a chest, by name."""

HEIGHTS: tuple[tuple[float, float] | None, ...] = (None, *dict.fromkeys(THIRDS.values()))
"""Bounds on height within the lung, 0 lowest to 1 highest, for which evidence is stored; None for all of it."""


def heights_of(query: Query) -> tuple[int, ...]:
    """Positions in ``HEIGHTS`` of the heights that a query asks for; any of them will do."""
    return tuple(HEIGHTS.index(bounds) for bounds in requested_heights(query)) or (0,)


def highest_by_place(logits: np.ndarray, thorax: Thorax, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest evidence of a map in every place, as ``assess`` would find it.

    The map is gone through once: heights within a lung are whole slabs, so a maximum for each slab and side is enough.

    Args:
        logits: Evidence, [slab y x]; see ``tips_med.grounding.evidence.evidence_map``.
        thorax: Chest on the same grid.
        inside: Mask of the body, bool [slab y x]; searched where no lung is seen.

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
    found, known = np.full(shape, _LOWEST, np.float32), np.zeros(shape, bool)
    for s, side in enumerate(SIDES):
        # Where the sides are not known, either may be the one that is meant.
        wanted = LABELS[side] if thorax.sides_known else LABELS["any"]
        for h, bounds in enumerate(HEIGHTS):
            parts = [_within(thorax, label, bounds) for label in wanted]
            highest = [by_slab[label][slabs].max(initial=_LOWEST) for label, (slabs, _) in zip(wanted, parts)]
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
