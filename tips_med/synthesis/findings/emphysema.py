"""Emphysema: lung that is gone, in the middle of lobules, along the pleura, or everywhere.

How dense, how large and how sharp the holes are follows real patches that readers classified
(``benchmarks.emphysema_texture``): they differ less from the lung around them than one would draw them, and this lung
has become thinner as well.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import SIDES, Box, Canvas, Painted, bounds, empty_air, fill_air, ramp, together
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.subpleural import cells, rim

BRIDGED_MM = 3.0
"""Lung that is nearer than this to holes on both of its sides counts as affected."""

KINDS = {"centrilobular": 0.5, "paraseptal": 0.22, "diffuse": 0.28}
"""How often emphysema is of each kind, by its attribute; ``diffuse`` is panlobular."""

LEAST_HU = 25.0
"""What changes the lung by less, on average, is not seen."""

VESSEL_MM = 10.0
"""Width of what is looked at around a vessel: one that fills little of it is thin."""


def paint_emphysema(canvas: Canvas, side: int | None = None, kind: str | None = None) -> Painted | None:
    """Centrilobular, paraseptal or panlobular emphysema, in most cases of both lungs.

    The mask is the region: the holes and what lies between them. Lung that has become thinner and is not in it is
    ``haze``.

    Args:
        canvas: Canvas to paint on.
        side: Side, 1 right, 2 left; either or both when None.
        kind: Kind, one of ``KINDS``; any of them when None.
    """
    rng = canvas.rng
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    paint = {"centrilobular": _centrilobular, "paraseptal": _paraseptal, "diffuse": _panlobular}[kind]
    first = side or int(rng.choice([RIGHT, LEFT]))
    both = side is None and rng.random() < (0.92 if kind == "diffuse" else 0.75)
    extent = rng.random()
    return together([paint(canvas, one, extent) for one in ((first, LEFT + RIGHT - first) if both else (first,))])


def _centrilobular(canvas: Canvas, side: int, extent: float) -> Painted | None:
    """Holes of 3 to 12 mm, scattered, without walls; more of them higher up, until little is left between them."""
    rng = canvas.rng
    found = _lung(canvas, side)
    if found is None:
        return None
    box, lung = found
    # The middle of a lobule is never at the pleura.
    middle = ndimage.minimum_filter(lung.view(np.uint8), (1, 3, 3), mode="nearest")
    # Excursions of a smooth field above a level are scattered round holes; a wider field gathers them.
    size_mm = float(rng.choice([4.0, 5.0, 6.0, 8.0], p=[0.4, 0.3, 0.2, 0.1]))
    gathered = 0.5 * canvas.noise(box, 30.0) + 0.4 * _height(canvas, box)
    level = 1.9 - 1.6 * extent
    depth = np.clip(rng.uniform(0.5, 0.75) + 0.3 * extent, 0, 1)
    holes = np.clip((canvas.noise(box, size_mm) + gathered - level) / 1.2 + 0.5, 0, 1) * middle
    thinner = 0.75 * extent * np.clip(1 + 0.5 * gathered, 0.4, 1.3)
    left, fewer = 1.0, None
    if extent > 0.4:
        fewer = 0.7 * (extent - 0.4) / 0.6 * np.clip(1 + 0.6 * gathered, 0, 1)
        # Where the holes of neighbours meet, septa are left: a net of thin lines.
        left = 1 - rng.uniform(0.3, 0.7) * np.exp(-((canvas.noise(box, 8.0) / 0.15) ** 2))
    return _empty(canvas, side, box, depth * holes * left, holes > 0.5, lung, "centrilobular", thinner * left, fewer)


def _paraseptal(canvas: Canvas, side: int, extent: float) -> Painted | None:
    """A row of holes along the pleura, 6 to 25 mm each, with thin walls between them."""
    rng = canvas.rng
    depth_mm = rng.uniform(6, 11 + 11 * extent)
    found = rim(canvas, side, reach_mm=rng.uniform(20, 35 + 40 * extent), degrees=(-90, 100), band_mm=depth_mm)
    if found is None:
        return None
    box, within, lung = found
    where = within > 0.02
    row = cells(canvas, box, where, spacing_mm=float(rng.uniform(1.1, 1.8) * depth_mm), crooked_mm=0.8)
    holes = np.zeros(where.shape)
    holes[where] = within[where] * ramp(row.to_wall_mm - rng.uniform(0.3, 0.8), 2.0)
    # Walls are thinner than a voxel and fill it in part: between the holes, and towards the lung.
    walls = np.zeros(where.shape)
    walls[where] = within[where] * (1 - ramp(row.to_wall_mm - 0.5, 2.0)) + np.clip(
        1 - 2.5 * np.abs(within[where] - 0.4), 0, 1
    )
    walls = rng.uniform(0.04, 0.16) * np.clip(walls, 0, 1) * lung
    near = np.clip(2 * ndimage.gaussian_filter(within, [8 / step for step in canvas.spacing_mm], truncate=2), 0, 1)
    return _empty(canvas, side, box, holes, holes > 0.5, lung, "paraseptal", rng.uniform(0, 0.6) * near, walls=walls)


def _panlobular(canvas: Canvas, side: int, extent: float) -> Painted | None:
    """All of the lung, or most of its upper or lower part, has become thin; few holes, and few thin vessels."""
    rng = canvas.rng
    found = _lung(canvas, side)
    if found is None:
        return None
    box, lung = found
    share = 0.4 + 0.55 * extent
    mottled = 0.1 * canvas.noise(box, 30.0) + 0.08 * canvas.noise(box, 8.0) + 0.12 * canvas.noise(box, 4.0)
    region = np.ones(lung.shape, np.float32)
    if rng.random() < 0.5:
        tilt = rng.choice([-1.0, 1.0], p=[0.65, 0.35]) * _height(canvas, box)
        region = np.clip(0.5 + rng.uniform(0.3, 0.9) + tilt + 0.6 * canvas.noise(box, 64.0), 0, 1)
    fewer = region * rng.uniform(0, 0.3 + 0.65 * extent)
    gone = region * np.clip(share * (1 + mottled), 0, 1)
    severity = "mild" if share < 0.55 else "moderate" if share < 0.75 else "severe"
    return _empty(canvas, side, box, gone * lung, region > 0.6, lung, "diffuse", 0.0, fewer, severity=severity)


def _lung(canvas: Canvas, side: int) -> tuple[Box, np.ndarray] | None:
    """A lung's box and what is free of it; None where there is little."""
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    box = bounds(lung)
    return box, lung[box] & ~canvas.taken[box]


def _height(canvas: Canvas, box: Box) -> np.ndarray | float:
    """-1 at the canvas's lowest slab, 1 at its highest; nothing where it is too low to tell."""
    slabs = canvas.lungs.shape[0]
    return np.linspace(-1, 1, slabs)[box[0], None, None] if slabs > 24 else 0.0


def _fewer_vessels(canvas: Canvas, box: Box, lung: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The box without a share of the thin vessels' density: they get fewer where lung is destroyed, thick ones stay."""
    view = canvas.volume_hu[box]
    size = [2 * int(VESSEL_MM / 2 / step) + 1 for step in canvas.spacing_mm]
    around, filled = np.minimum(view, -750.0), (view > -500).astype(np.float32)
    for axis, width in enumerate(size):
        around, filled = (ndimage.uniform_filter1d(one, width, axis, mode="nearest") for one in (around, filled))
    thick = np.clip((filled - 0.2) / 0.25, 0, 1)
    above = np.maximum(view - around, 0) * lung
    return view - above * share * (1 - thick)


def _empty(
    canvas: Canvas,
    side: int,
    box: Box,
    gone: np.ndarray,
    holes: np.ndarray,
    lung: np.ndarray,
    kind: str,
    thinner: np.ndarray | float,
    fewer: np.ndarray | None = None,
    walls: np.ndarray | None = None,
    severity: str | None = None,
) -> Painted | None:
    """Takes away what is gone of the lung; None where it would not show, as in lung that is gone already.

    Args:
        canvas: Canvas to paint on.
        side: Side of the lung.
        box: Box around it.
        gone: Share of each voxel's lung that is gone, 0 to 1.
        holes: Mask of what is in the finding for sure.
        lung: Mask of the free lung.
        kind: Kind, an attribute.
        thinner: Share of the lung that is gone beside the holes as well.
        fewer: Share of the thin vessels that is gone as well.
        walls: Share of each voxel's air that walls fill.
        severity: Severity, an attribute; by the share of the lung that is holes when None.
    """
    air_hu = canvas.rng.uniform(-1003, -985) + 5 * canvas.noise(box, 5.0)
    view = canvas.volume_hu[box]
    share = 1 - (1 - gone) * (1 - np.clip(thinner, 0, 1) * lung)
    empty = empty_air(view if fewer is None else _fewer_vessels(canvas, box, lung, fewer), share, air_hu)
    holes = holes & lung
    if holes.sum() < 12 or (view[holes] - empty[holes]).mean() < LEAST_HU:
        return None
    if walls is not None:
        empty = fill_air(empty, walls, 20.0)
    changed = (view - empty > LEAST_HU / 2) & lung
    view[...] = empty
    share = holes.sum() / max(1, (canvas.lungs == side).sum())
    severity = severity or ("mild" if share < 0.05 else "moderate" if share < 0.2 else "severe")
    return _entered(canvas, side, box, holes, lung, changed, (kind, severity))


def _entered(
    canvas: Canvas,
    side: int,
    box: Box,
    holes: np.ndarray,
    lung: np.ndarray,
    changed: np.ndarray,
    attributes: tuple[str, ...],
) -> Painted:
    size = [2 * int(np.floor(BRIDGED_MM / step + 0.3)) + 1 for step in canvas.spacing_mm]
    wide = ndimage.maximum_filter(holes.view(np.uint8), size, mode="nearest")
    inside = ndimage.minimum_filter(wide, size, mode="nearest").view(bool) & lung
    mask, haze = np.zeros(canvas.taken.shape, bool), np.zeros(canvas.taken.shape, bool)
    mask[box], haze[box] = inside, changed & ~inside
    canvas.taken |= mask
    return Painted("emphysema", SIDES[side], mask, attributes, haze=haze)


EMPHYSEMA = Finding(
    "emphysema",
    paint_emphysema,
    mistaken_for=("pneumothorax", "cavity"),
    indistinct_from=("honeycombing", "cavity"),
    last=True,
)
