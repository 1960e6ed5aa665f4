"""Nodules and masses."""

from __future__ import annotations

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import (
    Canvas,
    Painted,
    blob,
    fill_air,
    inside_lung,
    painted,
    soft,
    together,
    within,
)
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.obstruction import lung_behind
from tips_med.synthesis.findings.shift import shift_towards

OBSTRUCTS_FROM_MM = 40.0
"""A mass from this size on may close the bronchus that it grew from."""


def paint_nodule(
    canvas: Canvas, side: int | None = None, diameter_mm: float | None = None, kind: str | None = None
) -> Painted | None:
    """A nodule of 4 to 30 mm: solid, part-solid or ground-glass; round, lobulated or spiculated; some with calcium."""
    rng = canvas.rng
    diameter = diameter_mm or float(np.exp(rng.uniform(np.log(5), np.log(30))))
    kind = kind or str(rng.choice(["solid", "part_solid", "ground_glass"], p=[0.52, 0.18, 0.3]))
    if kind != "solid":
        diameter = max(diameter, 7.0)
    spiculated = kind != "ground_glass" and diameter > 9 and rng.random() < 0.35
    made = blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.05, 0.28), spiculated=spiculated)
    if made is None:
        return None
    box, radius = made
    alpha = soft(radius, diameter, edge_mm=rng.uniform(1.5, 2.5) if kind == "solid" else rng.uniform(2, 4))
    alpha *= inside_lung(canvas, box)
    view = canvas.volume_hu[box]
    calcium = None
    solid_hu = rng.uniform(-40, 110) + 15 * canvas.noise(box, 4)
    if kind == "solid":
        view += alpha * (np.maximum(view, solid_hu) - view)
        if diameter > 8 and rng.random() < 0.08:
            calcium = radius < rng.uniform(0.3, 0.9)
            view += alpha * calcium * rng.uniform(150, 700)
    else:
        density = rng.uniform(0.2, 0.5) * (1 + 0.15 * canvas.noise(box, 5))
        view[...] = fill_air(view, np.clip(alpha * density, 0, 0.95), 20.0)
        if kind == "part_solid":
            core = soft(radius, diameter, edge_mm=2.0, at=rng.uniform(0.35, 0.7))
            view += core * alpha * (np.maximum(view, solid_hu) - view)
    attributes = [kind] + (["spiculated"] if spiculated else [])
    nodule = painted(canvas, "nodule", box, alpha > 0.5, attributes, diameter)
    if nodule is None or calcium is None:
        return nodule
    return within(nodule, "calcification", "calcified", box, calcium & (alpha > 0.5))


def paint_mass(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A mass of 30 to 90 mm: lobulated or spiculated, some with a dead middle or a cavity; it may reach the pleura.

    Behind a large one the lung may be without air (in ``more``), denser than the mass or less dense; the body is moved
    on the canvas then, as by any collapse.
    """
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(30), np.log(90))))
    obstructs = diameter > OBSTRUCTS_FROM_MM and rng.random() < 0.4
    if obstructs:
        sides = [one for one in (RIGHT, LEFT) if (canvas.lungs == one).any()]
        if not sides:
            return None
        side = side or int(rng.choice(sides))
        shift_towards(canvas, side, rng.uniform(0, 22), rng.uniform(0, 25))
    spiculated = bool(rng.random() < 0.45)
    made = blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.1, 0.4), spiculated=spiculated)
    if made is None:
        return None
    box, radius = made
    alpha = soft(radius, diameter, edge_mm=rng.uniform(1.5, 4)) * inside_lung(canvas, box)
    view = canvas.volume_hu[box]
    own_hu = rng.uniform(-10, 100)
    target = own_hu + rng.uniform(5, 25) * canvas.noise(box, 8)
    inner = soft(radius, diameter, edge_mm=8, at=rng.uniform(0.3, 0.7))
    cavity = None
    kind = rng.random()
    if kind < 0.3:
        target = target - inner * rng.uniform(15, 50)
    elif kind < 0.42:
        target = target + inner * (-920 - target)
        cavity = inner > 0.5
    halo = None
    if rng.random() < 0.3:  # a rim of ground glass around it
        halo = soft(radius, diameter, edge_mm=6, at=1 + rng.uniform(5, 12) / diameter) * inside_lung(canvas, box)
        view[...] = fill_air(view, halo * rng.uniform(0.15, 0.4), 20.0)
    view += alpha * (target - view)
    attributes = ["spiculated"] if spiculated else ["lobulated"]
    mass = painted(canvas, "mass", box, alpha > 0.5, attributes, diameter, halo)
    if mass is None:
        return None
    if cavity is not None:
        mass = within(mass, "cavity", "cavitary", box, cavity & (alpha > 0.5))
    return together([mass, lung_behind(canvas, mass, own_hu) if obstructs else None])


NODULE = Finding("nodule", paint_nodule, mistaken_for=("mass", "ground_glass_opacity", "cavity"))

MASS = Finding("mass", paint_mass, mistaken_for=("consolidation", "nodule", "atelectasis", "pleural_effusion"))
