"""Emphysema: lung that is gone, without walls in the middle of lobules, with thin ones under the pleura."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import SIDES, Box, Canvas, Painted, bounds, empty_air, fill_air, ramp, together
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.subpleural import cells, rim

BRIDGED_MM = 3.0
"""Lung that is nearer than this to holes on both of its sides counts as affected."""


def paint_emphysema(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Centrilobular or paraseptal emphysema, in most cases of both lungs.

    The mask is the region: the holes and what lies between them.
    """
    rng = canvas.rng
    paint = _centrilobular if rng.random() < 0.65 else _paraseptal
    first = side or int(rng.choice([RIGHT, LEFT]))
    both = side is None and rng.random() < 0.75
    extent = rng.random()
    return together([paint(canvas, one, extent) for one in ((first, LEFT + RIGHT - first) if both else (first,))])


def _centrilobular(canvas: Canvas, side: int, extent: float) -> Painted | None:
    """Holes of 3 to 12 mm, scattered, without walls; more of them higher up."""
    rng = canvas.rng
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    box = bounds(lung)
    lung = lung[box] & ~canvas.taken[box]
    # The middle of a lobule is never at the pleura.
    middle = ndimage.minimum_filter(lung.view(np.uint8), (1, 3, 3), mode="nearest")
    # Excursions of a smooth field above a level are scattered round holes; a wider field gathers them.
    size_mm = float(rng.choice([5.0, 6.0, 8.0, 12.0], p=[0.25, 0.35, 0.3, 0.1]))
    height = np.linspace(-1, 1, canvas.lungs.shape[0])[box[0], None, None] if canvas.lungs.shape[0] > 24 else 0.0
    gathered = 0.45 * canvas.noise(box, 30.0) + 0.4 * height
    level = 1.9 - 1.1 * extent
    holes = np.clip((canvas.noise(box, size_mm) + gathered - level) / 0.7 + 0.5, 0, 1) * middle
    return _empty(canvas, side, box, holes, lung, "centrilobular")


def _paraseptal(canvas: Canvas, side: int, extent: float) -> Painted | None:
    """A row of holes along the pleura, 5 to 20 mm each, with thin walls between them."""
    rng = canvas.rng
    depth_mm = rng.uniform(6, 10 + 8 * extent)
    found = rim(canvas, side, reach_mm=rng.uniform(20, 35 + 40 * extent), degrees=(-90, 100), band_mm=depth_mm)
    if found is None:
        return None
    box, within, lung = found
    where = within > 0.02
    row = cells(canvas, box, where, spacing_mm=float(rng.uniform(1.0, 1.5) * depth_mm), crooked_mm=0.8)
    holes = np.zeros(where.shape)
    holes[where] = within[where] * ramp(row.to_wall_mm - rng.uniform(0.6, 1.2), 2.0)
    # Walls are thinner than a voxel and fill it in part: between the holes, and towards the lung.
    walls = np.zeros(where.shape)
    walls[where] = within[where] * (1 - ramp(row.to_wall_mm - 0.5, 2.0)) + np.clip(
        1 - 2.5 * np.abs(within[where] - 0.4), 0, 1
    )
    thin = rng.uniform(0.08, 0.3) * np.clip(walls, 0, 1) * lung
    return _empty(canvas, side, box, holes, lung, "paraseptal", thin)


def _empty(
    canvas: Canvas, side: int, box: Box, holes: np.ndarray, lung: np.ndarray, kind: str, walls: np.ndarray | None = None
) -> Painted | None:
    """Takes the lung out of the holes; None where it would not show, as in lung that is gone already."""
    air_hu = canvas.rng.uniform(-1000, -970) + 6 * canvas.noise(box, 5.0)
    view = canvas.volume_hu[box]
    empty = empty_air(view, holes, air_hu)
    gone = holes > 0.5
    if gone.sum() < 12 or (view[gone] - empty[gone]).mean() < 35:
        return None
    if walls is not None:
        empty = fill_air(empty, walls, 20.0)
    view[...] = empty
    return _entered(canvas, side, box, gone, lung, kind)


def _entered(canvas: Canvas, side: int, box: Box, holes: np.ndarray, lung: np.ndarray, kind: str) -> Painted | None:
    size = [2 * int(np.floor(BRIDGED_MM / step + 0.3)) + 1 for step in canvas.spacing_mm]
    wide = ndimage.maximum_filter(holes.view(np.uint8), size, mode="nearest")
    inside = ndimage.minimum_filter(wide, size, mode="nearest").view(bool) & lung
    share = holes.sum() / max(1, (canvas.lungs == side).sum())
    severity = "mild" if share < 0.05 else "moderate" if share < 0.2 else "severe"
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = inside
    canvas.taken |= mask
    return Painted("emphysema", SIDES[side], mask, (kind, severity))


EMPHYSEMA = Finding(
    "emphysema", paint_emphysema, mistaken_for=("pneumothorax", "cavity"), indistinct_from=("honeycombing", "cavity")
)
