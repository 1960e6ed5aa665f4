# Copied from tips_med/body/body.py by copies.py: change it there.
"""``Body``: what the scan shows of a patient, found once and stored with the study."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tips_med_runtime.body.midline import AP_MM, Midline, find_midline
from tips_med_runtime.body.outline import CUT_EDGES, Edge, cut_edges, outline_body

CELL_MM = 4.0
"""Cells of the grid that bodies are found on, in plane: fine enough for a skin, coarse enough to be quick."""

DENSE_HU = -250.0
"""Lower bound of Hounsfield units that count for the middle of a body: fat and denser."""

SPINE_BEHIND_MM = 50.0
"""How far behind the middle of a body its spine lies, usually."""


@dataclass(frozen=True, eq=False)
class Body:
    """A body on a slab grid.

    Attributes:
        inside: Mask of the body and the air inside it, bool [slab y x].
        midline: Midline of every slab.
        cut: For each edge of the field of view, the slabs in which it cuts the body, bool [slab].
        middle_mm: Middle of the body, (y, x) in mm, in the frame of ``origin_mm``: the origin of the network's
            positions. A cut field of view does not move it.
    """

    inside: np.ndarray
    midline: Midline
    cut: dict[Edge, np.ndarray]
    middle_mm: tuple[float, float]

    def cropped(self, rows: slice, columns: slice) -> Body:
        """The same body on a part of the grid; places in mm stay as they are."""
        return replace(self, inside=self.inside[:, rows, columns])


def unknown_body(seen: np.ndarray, spacing_mm: tuple[float, float, float], origin_mm: tuple[float, float]) -> Body:
    """The body of a scan whose values say nothing about tissue: the whole measured area, without a midline."""
    y_mm, x_mm = ((n - 1) / 2 * step + first for n, step, first in zip(seen.shape[1:], spacing_mm[1:], origin_mm))
    nothing = Midline(np.full(len(seen), np.nan), np.nan, np.inf, "none")
    uncut = np.zeros(len(seen), bool)
    return Body(seen.copy(), nothing, dict.fromkeys(CUT_EDGES, uncut), (y_mm, x_mm))


def find_body(
    hu: np.ndarray,
    seen: np.ndarray,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float] = (0.0, 0.0),
) -> Body:
    """Finds the body in a scan.

    Args:
        hu: Hounsfield units on an axial grid along the patient's axes, [slab y x]: slabs run to the head, y to the
            back, x to the patient's left. Values of unmeasured cells are ignored.
        seen: Mask of measured cells, bool [slab y x]. A body does not end at a gap: for its outline an empty
            slab between two others has the values of the nearest one.
        spacing_mm: Spacing of the grid in mm: slab, y, x.
        origin_mm: Centre of the first cell, (y, x) in mm; take it from the affine to get LPS positions.

    Returns:
        The body; empty, and without a midline, where there is none.
    """
    factor = (max(1, round(CELL_MM / spacing_mm[1])), max(1, round(CELL_MM / spacing_mm[2])))
    hu, outlined = _over_gaps(hu, seen)
    coarse_mm = (spacing_mm[0], spacing_mm[1] * factor[0], spacing_mm[2] * factor[1])
    coarse = _pooled(np.where(outlined, hu, -1024.0), factor, -1024.0)
    coarse_seen = _pooled(outlined.astype(np.float32), factor, 0.0) > 0.5
    outline = outline_body(coarse, coarse_seen)
    cut = cut_edges(outline, coarse_seen, coarse_mm)
    midline = find_midline(coarse, outline, cut, coarse_mm)
    # The first coarse cell's centre lies this far from the first fine one's.
    y0, x0 = ((n - 1) / 2 * step for n, step in zip(factor, spacing_mm[1:]))
    midline = replace(midline, x_mm=midline.x_mm + x0, back_mm=midline.back_mm + y0)
    inside = outline.repeat(factor[0], axis=1).repeat(factor[1], axis=2)[:, : hu.shape[1], : hu.shape[2]] & seen
    y_mm, x_mm = _middle(hu, inside, cut, midline, spacing_mm)
    y0, x0 = origin_mm
    midline = replace(midline, x_mm=midline.x_mm + x0, back_mm=midline.back_mm + y0)
    return Body(inside, midline, cut, (y_mm + y0, x_mm + x0))


def _over_gaps(hu: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and field of view with the nearest measured slab in place of every one between two that is empty."""
    measured = np.flatnonzero(seen.any(axis=(1, 2)))
    if not len(measured) or len(measured) == measured[-1] - measured[0] + 1:
        return hu, seen
    source = np.arange(len(hu))
    for slab in np.setdiff1d(np.arange(measured[0], measured[-1]), measured):
        source[slab] = measured[np.abs(measured - slab).argmin()]
    return hu[source], seen[source]


def _pooled(array: np.ndarray, factor: tuple[int, int], outside: float) -> np.ndarray:
    """Means of blocks in plane, [slab y x]; the far edges are padded."""
    (y, x), (rows, columns) = factor, array.shape[1:]
    padded = np.pad(array.astype(np.float32), ((0, 0), (0, -rows % y), (0, -columns % x)), constant_values=outside)
    return padded.reshape(len(padded), padded.shape[1] // y, y, padded.shape[2] // x, x).mean(axis=(2, 4))


def _middle(
    hu: np.ndarray,
    inside: np.ndarray,
    cut: dict[Edge, np.ndarray],
    midline: Midline,
    spacing_mm: tuple[float, float, float],
) -> tuple[float, float]:
    """The centroid of dense tissue along an axis that the field of view covers; else the best other estimate."""
    dense = (hu > DENSE_HU) & inside
    plane = dense.sum(axis=0, dtype=np.float64)
    total = plane.sum()
    if total == 0:
        return spacing_mm[1] * (hu.shape[1] - 1) / 2, spacing_mm[2] * (hu.shape[2] - 1) / 2
    y_mm = spacing_mm[1] * float(plane.sum(axis=1) @ np.arange(plane.shape[0])) / total
    x_mm = spacing_mm[2] * float(plane.sum(axis=0) @ np.arange(plane.shape[1])) / total
    share = {edge: float(slabs[inside.any(axis=(1, 2))].mean()) for edge, slabs in cut.items()}
    if max(share["left"], share["right"]) > 0.5 and midline.known:
        x_mm = float(np.median(midline.x_mm))
    if share["front"] > 0.5 or share["back"] > 0.5:
        rows = spacing_mm[1] * np.flatnonzero(plane.any(axis=1))[[0, -1]]
        if np.isfinite(midline.back_mm):
            y_mm = midline.back_mm - SPINE_BEHIND_MM
        elif share["back"] > 0.5 >= share["front"]:
            y_mm = float(rows[0]) + AP_MM / 2
        elif share["front"] > 0.5 >= share["back"]:
            y_mm = float(rows[1]) - AP_MM / 2
    return y_mm, x_mm
