"""What a finding moves: collapse pulls mediastinum, trachea and diaphragm to its side, much fluid pushes them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT

if TYPE_CHECKING:
    from tips_med.synthesis.findings.canvas import Canvas, Painted

MOST = 0.45
"""The share of a lung's width, and of its height, that it can lose or gain at most."""

TALL_MM = 110.0
"""A canvas lower than this shows no diaphragm whose movement would tell anything: only the mediastinum moves."""

BELOW_MM = 140.0
"""How far below the diaphragm the belly still moves with it."""


@dataclass(frozen=True, eq=False)
class Shift:
    """A smooth movement of a body: where each voxel comes from.

    Attributes:
        column: Column that each voxel comes from, float32 [slab y x].
        slab: Slab that each voxel comes from, float32 [slab y x]; its own when None.
    """

    column: np.ndarray
    slab: np.ndarray | None = None

    def values(self, volume: np.ndarray) -> np.ndarray:
        """A moved volume, interpolated, float32 [slab y x]."""
        slabs, rows = _own(volume.shape)
        if self.slab is not None:
            where = np.broadcast_arrays(self.slab, rows.astype(np.float32), self.column)
            return ndimage.map_coordinates(volume.astype(np.float32), where, order=1, mode="nearest", prefilter=False)
        low = np.clip(self.column.astype(np.intp), 0, volume.shape[2] - 2)
        part = np.clip(self.column - low, 0, 1)
        return (volume[slabs, rows, low] * (1 - part) + volume[slabs, rows, low + 1] * part).astype(np.float32)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Moved labels, or a moved mask: those of the nearest voxels."""
        slabs, rows = _own(labels.shape)
        if self.slab is not None:
            slabs = np.clip(np.rint(self.slab).astype(np.intp), 0, labels.shape[0] - 1)
        return labels[slabs, rows, np.clip(np.rint(self.column).astype(np.intp), 0, labels.shape[2] - 1)]

    def painted(self, painted: Painted) -> Painted:
        """A finding that was painted before, moved with the body."""
        haze = None if painted.haze is None else self.labels(painted.haze)
        more = tuple(self.painted(one) for one in painted.more)
        return replace(painted, mask=self.labels(painted.mask), haze=haze, more=more)


def shift_towards(canvas: Canvas, side: int, middle_mm: float, lift_mm: float = 0.0) -> bool:
    """Moves what lies between the lungs towards a side, and the diaphragm of this side up.

    The chest wall, the spine and what lies in front of and behind the lungs stay where they are: one lung gets
    narrower, the other one wider. ``canvas.shifts`` gets what has to move along: whatever is not on the canvas.

    Args:
        canvas: Canvas, changed in place.
        side: Side, 1 right, 2 left.
        middle_mm: How far the mediastinum moves to this side, in mm; away from it when negative.
        lift_mm: How far the diaphragm rises on this side, in mm; it is pushed down when negative. Nothing moves up or
            down in a canvas that is too low to show it.

    Returns:
        Whether anything moved: nothing does where a lung is missing, for there is no mediastinum between two.
    """
    edges = _edges(canvas, side)
    if edges is None:
        return False
    outer, medial, other_medial, other_outer = edges
    step = canvas.spacing_mm[2]
    to_side = -1.0 if outer < other_outer else 1.0  # in columns
    widths = abs(medial - outer) * step, abs(other_outer - other_medial) * step
    moved_mm = float(np.clip(middle_mm, -MOST * widths[1] if middle_mm < 0 else 0, MOST * widths[0]))
    if middle_mm < 0:
        moved_mm = max(moved_mm, -MOST * widths[0])
    moved = to_side * moved_mm / step
    columns = np.arange(canvas.lungs.shape[2], dtype=np.float32)
    # By where things end up: the wall stays, the mediastinum moves as one piece.
    corners = sorted(zip((outer, medial + moved, other_medial + moved, other_outer), (0.0, 1.0, 1.0, 0.0)))
    across = _profile(columns, corners, 5 / step)
    rows = np.flatnonzero((canvas.lungs > 0).any(axis=(0, 2)))
    down = (np.arange(canvas.lungs.shape[1], dtype=np.float32) - rows[0]) / max(1, np.ptp(rows))
    # Sternum and spine stay.
    along = _profile(down, [(-0.05, 0.0), (0.15, 1.0), (0.5, 1.0), (0.8, 0.0)], 0.0)
    column = columns - moved * across * np.ones(canvas.lungs.shape[0], np.float32)[:, None, None] * along[:, None]
    slab = _risen(canvas, side, (outer, medial), lift_mm)
    if slab is None and not moved_mm:
        return False
    canvas.move(Shift(column.astype(np.float32), slab))
    return True


def _risen(canvas: Canvas, side: int, edges: tuple[float, float], lift_mm: float) -> np.ndarray | None:
    """The slabs that a diaphragm's movement takes voxels from, float32 [slab y x]; None where it does not move."""
    slabs = canvas.lungs.shape[0]
    step = canvas.spacing_mm[0]
    lung = canvas.lungs == side
    lowest = np.where(lung.any(axis=0), lung.argmax(axis=0), slabs)
    dome, top = float(np.median(lowest[lowest < slabs])), float(np.flatnonzero(lung.any(axis=(1, 2)))[-1])
    if not lift_mm or slabs * step < TALL_MM or lung[0].any() or top - dome < 4:
        return None
    most = MOST * min(top - dome, BELOW_MM / step)
    moved = float(np.clip(lift_mm / step, -most, most))
    z = np.arange(slabs, dtype=np.float32)
    low = max(0.0, dome + moved - BELOW_MM / step)  # below a canvas there is nothing to take voxels from
    if dome + moved - 10 / step <= low:
        return None
    up = _profile(z, [(low, 0.0), (dome + moved - 10 / step, 1.0), (dome + moved, 1.0), (top, 0.0)], 0.0)
    across = _within(canvas.lungs.shape[2], sorted(edges), 25 / canvas.spacing_mm[2])
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    along = _within(canvas.lungs.shape[1], (float(rows[0]), float(rows[-1])), 25 / canvas.spacing_mm[1])
    return z[:, None, None] - moved * up[:, None, None] * along[None, :, None] * across


def _edges(canvas: Canvas, side: int) -> tuple[float, float, float, float] | None:
    """Columns: outer and medial edge of the lung of a side, medial and outer edge of the other one."""
    found = []
    for one in (side, LEFT + RIGHT - side):
        plane = (canvas.lungs == one).any(axis=0)
        rows = plane.any(axis=1)
        if plane.sum() < 100:
            return None
        first = plane[rows].argmax(axis=1)
        last = plane.shape[1] - 1 - plane[rows][:, ::-1].argmax(axis=1)
        found.append((first, last))
    own, other = found
    if own[0].mean() < other[0].mean():
        edges = own[0].min(), np.median(own[1]), np.median(other[0]), other[1].max()
    else:
        edges = own[1].max(), np.median(own[0]), np.median(other[1]), other[0].min()
    outer, medial, other_medial, other_outer = (float(edge) for edge in edges)
    # Lungs that overlap along a row leave no room between them.
    return None if (medial - other_medial) * (outer - other_outer) <= 0 else (outer, medial, other_medial, other_outer)


def _within(number: int, edges: Sequence[float], edge: float) -> np.ndarray:
    """1 between two places, 0 outside of them, with edges so many steps wide inside."""
    first, last = edges
    inner = min(edge, (last - first) / 2)
    corners = [(first, 0.0), (first + inner, 1.0), (last - inner, 1.0), (last, 0.0)]
    return _profile(np.arange(number, dtype=np.float32), corners, 0.0)


def _own(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The slab and the row of each voxel, each to be broadcast."""
    return np.arange(shape[0])[:, None, None], np.arange(shape[1])[None, :, None]


def _profile(at: np.ndarray, corners: Sequence[tuple[float, float]], smooth: float) -> np.ndarray:
    """Values at corners, joined by lines, smoothed over so many steps."""
    values = np.interp(at, [place for place, _ in corners], [value for _, value in corners]).astype(np.float32)
    return ndimage.gaussian_filter1d(values, smooth, mode="nearest") if smooth else values
