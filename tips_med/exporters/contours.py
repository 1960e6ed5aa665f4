"""Closed contours about a mask in a slice, as structure sets hold them.

A contour runs half-way between the centres of pixels inside and outside, so a reader that asks for each pixel whether
its centre lies inside gets the mask back exactly. It keeps a hundredth of a pixel more to the inside: a reader that
first rounds corners to whole pixels then gets the same pixels, instead of one row and column too many.

A hole is joined to the contour about it by a cut of no width, a keyhole, as DICOM describes (PS3.3 C.8.8.6): the
contour is one polygon, and every rule of filling leaves the hole out.
"""

from __future__ import annotations

import numpy as np
from skimage import measure

from tips_med.shapes import Bool, Float64

_SliceMask = Bool[np.ndarray, "row column"]
_Ring = Float64[np.ndarray, "_ 2"]
_LEVEL = 0.51
_BESIDE = 0.005
"""Rows between a cut and pixels' centres, which must not lie on it: whether they were inside would be chance."""


def closed_contours(mask_ji: _SliceMask) -> list[_Ring]:
    """Contours of a mask.

    Args:
        mask_ji: bool [row column].

    Returns:
        A polygon for each part that hangs together by pixels' edges, float64 [n 2] as (row, column) in pixels, pixel
        centres at whole numbers; without the first point once more at the end, and without points on straight lines.
    """
    parts = np.asarray(measure.label(mask_ji, connectivity=1))
    return [_contour_of(one.image, one.bbox[:2]) for one in measure.regionprops(parts)]


def _contour_of(part_ji: _SliceMask, first_ji: tuple[int, int]) -> _Ring:
    """The contour of one part, its holes joined by keyholes."""
    found = measure.find_contours(np.pad(part_ji, 1).astype(np.float64), _LEVEL, fully_connected="low")
    rings = sorted((_without_straight(ring[:-1]) for ring in found), key=lambda ring: -abs(_area(ring)))
    contour, holes = rings[0], rings[1:]
    # From the leftmost on: what a cut to the left meets is then the contour, or a hole that is part of it already.
    for hole in sorted(holes, key=lambda ring: ring[:, 1].min()):
        contour = _joined(contour, hole)
    return contour - 1 + np.array(first_ji)


def _joined(contour: _Ring, hole: _Ring) -> _Ring:
    """The contour with a cut from beside a hole's leftmost corner to the first edge on its left."""
    hole = np.roll(hole, -int(np.argmin(hole[:, 1])), axis=0)
    onward = hole[1] - hole[0]  # its row changes: corners that lie farthest left have whole rows
    key = hole[0] + onward * abs(_BESIDE / onward[0])
    row, column = key
    start, end = contour, np.roll(contour, -1, axis=0)
    crosses = np.flatnonzero((start[:, 0] <= row) != (end[:, 0] <= row))
    share = (row - start[crosses, 0]) / (end[crosses, 0] - start[crosses, 0])
    at = start[crosses, 1] + share * (end[crosses, 1] - start[crosses, 1])
    n = int(np.argmax(np.where(at < column, at, -np.inf)))
    door, after = np.array([row, at[n]]), int(crosses[n]) + 1
    return np.vstack([contour[:after], door, key, hole[1:], hole[:1], key, door, contour[after:]])


def _without_straight(ring: _Ring) -> _Ring:
    """A closed ring without the points at which it goes straight on."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return ring[turns]


def _area(ring: _Ring) -> float:
    """Twice the area, signed."""
    row, column = ring.T
    return float(np.sum(row * np.roll(column, -1) - np.roll(row, -1) * column))
