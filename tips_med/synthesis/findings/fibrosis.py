"""Fibrosis: a net of thin lines, and the stacked cysts that it ends in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import Canvas, Painted, empty_air, fill_air, painted, ramp, together
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.subpleural import cells, rim

WHERE_DEGREES = (-20.0, 110.0)
"""Lateral and at the back, where fibrosis begins."""


def paint_reticulation(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A net of thin lines under the pleura, over lung that is a little hazy, in most cases of both lungs."""
    rng = canvas.rng
    mesh_mm, line_mm = rng.uniform(6, 12), rng.uniform(0.5, 1.1)
    density, haze = rng.uniform(0.35, 0.8), rng.uniform(0.02, 0.14)
    reach_mm, band_mm = rng.uniform(20, 70), rng.uniform(10, 30)

    def one(lung_side: int) -> Painted | None:
        found = rim(canvas, lung_side, reach_mm=reach_mm, degrees=WHERE_DEGREES, band_mm=band_mm)
        if found is None:
            return None
        box, inside, _ = found
        where = inside > 0.02
        net = cells(canvas, box, where, mesh_mm, crooked_mm=1.2)
        line = np.zeros(where.shape)
        # Lines that are thinner than a voxel show as faintly as they fill it; some are missing.
        broken = np.clip(0.9 + 0.5 * canvas.noise(box, 8.0)[where], 0, 1.2)
        line[where] = ramp(line_mm - net.to_wall_mm, 1.8) * broken
        view = canvas.volume_hu[box]
        filled = inside * (haze + density * line)
        view[...] = fill_air(view, np.clip(filled, 0, 0.85), 20.0)
        return painted(canvas, "reticulation", box, inside > 0.5, [], None, inside)

    return _one_or_both(canvas, side, one)


def paint_honeycombing(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Cysts of 3 to 10 mm under the pleura, in layers, with walls of 1 to 3 mm that they share."""
    rng = canvas.rng
    reach_mm, band_mm = rng.uniform(15, 55), rng.uniform(8, 26)
    cyst_mm, wall_mm = rng.uniform(6.5, 12), rng.uniform(1.0, 2.2)
    density = rng.uniform(0.55, 0.9)

    def one(lung_side: int) -> Painted | None:
        found = rim(canvas, lung_side, reach_mm=reach_mm, degrees=WHERE_DEGREES, band_mm=band_mm)
        if found is None:
            return None
        box, inside, _ = found
        where = inside > 0.02
        comb = cells(canvas, box, where, cyst_mm, crooked_mm=0.6)
        # Round in their cells, of different sizes, some cells without any: what lies between is scar.
        largest_mm = cyst_mm * rng.uniform(0.4, 0.75, comb.count)[comb.number]
        hole = np.zeros(where.shape)
        hole[where] = ramp(np.minimum(comb.to_wall_mm - wall_mm / 2, largest_mm - comb.to_middle_mm), 1.6)
        view = canvas.volume_hu[box]
        cysts = empty_air(view, inside * hole, rng.uniform(-990, -920))
        scar = density * np.clip(1 + 0.25 * canvas.noise(box, 8.0), 0.4, 1.2)
        view[...] = fill_air(cysts, np.clip(inside * (1 - hole) * scar, 0, 1), 20.0)
        return painted(canvas, "honeycombing", box, inside > 0.5, [], None, inside)

    return _one_or_both(canvas, side, one)


def _one_or_both(canvas: Canvas, side: int | None, one: Callable[[int], Painted | None]) -> Painted | None:
    first = side or int(canvas.rng.choice([RIGHT, LEFT]))
    both = side is None and canvas.rng.random() < 0.7
    return together([one(s) for s in ((first, LEFT + RIGHT - first) if both else (first,))])


RETICULATION = Finding(
    "reticulation",
    paint_reticulation,
    mistaken_for=("ground_glass_opacity", "consolidation"),
    indistinct_from=("honeycombing",),
)

HONEYCOMBING = Finding(
    "honeycombing",
    paint_honeycombing,
    mistaken_for=("emphysema", "cavity", "reticulation"),
    indistinct_from=("reticulation", "emphysema"),
)
