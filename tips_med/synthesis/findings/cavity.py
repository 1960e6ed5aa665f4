"""Cavities: holes full of gas in a mass, a nodule or a consolidation."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.findings.airspace import paint_consolidation
from tips_med.synthesis.findings.canvas import Canvas, Painted, bounds, depth_mm, ramp, within
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.nodules import paint_mass, paint_nodule


def paint_cavity(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A mass, a nodule or a consolidation with a thick-walled hole in it, some with a level of fluid.

    What is returned is the mother, with the attribute ``cavitary``. The cavity is the gas in it, in ``more``: whether
    its wall belongs to it is a matter of taste.
    """
    rng = canvas.rng
    kind = rng.random()
    if kind < 0.5:
        mother = paint_nodule(
            canvas, side, diameter_mm=float(np.exp(rng.uniform(np.log(16), np.log(30)))), kind="solid"
        )
    elif kind < 0.8:
        mother = paint_mass(canvas, side)
    else:
        mother = paint_consolidation(canvas, side)
    if mother is None or "cavitary" in mother.attributes:
        return mother
    return _hollow(canvas, mother)


def _hollow(canvas: Canvas, mother: Painted) -> Painted:
    """Empties the middle of what was painted, leaving a wall of uneven thickness."""
    rng = canvas.rng
    box = bounds(mother.mask, margin=2)
    inside = mother.mask[box]
    depth = depth_mm(inside, canvas.spacing_mm)
    deepest = depth.max()
    wall_mm = float(np.clip(rng.uniform(0.25, 0.6) * deepest, min(3.0, 0.5 * deepest), 15.0))
    if mother.finding == "consolidation":
        # It empties where it is deepest, not all along its own shape.
        centre = np.array(np.unravel_index(depth.argmax(), depth.shape)) + [part.start for part in box]
        z, y, x = canvas.offsets_mm(box, centre)
        reach = min(deepest, 25.0) * rng.uniform(0.6, 0.9)
        depth = np.minimum(depth, wall_mm + reach - np.sqrt(z**2 + y**2 + x**2))
    hole = ramp(depth - wall_mm * (1 + 0.25 * canvas.noise(box, 8.0)), 2.5) * inside
    view = canvas.volume_hu[box]
    gas = hole
    if rng.random() < 0.3 and deepest > 8:
        rows = np.flatnonzero((hole > 0.5).any(axis=(0, 2)))
        if len(rows) > 3:
            level = rows[0] + rng.uniform(0.4, 0.85) * np.ptp(rows)
            gas = hole * (np.arange(hole.shape[1])[None, :, None] < level)
            view += (hole - gas) * (rng.uniform(0, 25) + 4 * canvas.noise(box, 6.0) - view)
    view += gas * (rng.uniform(-1000, -930) + 8 * canvas.noise(box, 4.0) - view)
    return within(mother, "cavity", "cavitary", box, gas > 0.5)


CAVITY = Finding(
    "cavity",
    paint_cavity,
    mistaken_for=("emphysema", "pneumothorax", "honeycombing"),
    indistinct_from=("honeycombing", "emphysema"),
)
