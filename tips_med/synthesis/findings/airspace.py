"""Air spaces that fill: ground glass and consolidation."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.findings.canvas import Box, Canvas, Painted, blob, fill_air, inside_lung, painted, soft
from tips_med.synthesis.findings.declaration import Finding

LEAST_OPEN = 0.006
"""The share of a consolidation that is open bronchi, below which none is visible."""


def paint_ground_glass(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Ground-glass opacity: patches of 12 to 110 mm with hazy edges, through which vessels stay visible."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(12), np.log(110))))
    made = blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.15, 0.6), spiculated=False)
    if made is None:
        return None
    box, radius = made
    alpha = soft(radius, diameter, edge_mm=rng.uniform(2.5, 12)) * inside_lung(canvas, box)
    density = rng.uniform(0.14, 0.5) * (1 + 0.2 * canvas.noise(box, rng.choice([4.0, 8.0, 16.0])))
    fraction = np.clip(alpha * density, 0, 0.9)
    view = canvas.volume_hu[box]
    view[...] = fill_air(view, fraction, 20.0)
    return painted(canvas, "ground_glass_opacity", box, (alpha > 0.5), [], diameter)


def paint_consolidation(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Consolidation: air spaces filled, vessels drowned, bronchi still open; 20 to 130 mm, ragged and hazy at its edge.

    Where no bronchus is visible it has the attribute ``solid``: it may then as well be called a mass.
    """
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(20), np.log(130))))
    made = blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.4, 0.9), spiculated=False)
    if made is None:
        return None
    box, radius = made
    inside = inside_lung(canvas, box)
    alpha = soft(radius, diameter, edge_mm=rng.uniform(4, 12)) * inside
    haze = None
    if rng.random() < 0.6:
        haze = soft(radius, diameter, edge_mm=10, at=1 + rng.uniform(6, 20) / diameter) * inside
        canvas.volume_hu[box] = fill_air(canvas.volume_hu[box], np.clip(haze * rng.uniform(0.15, 0.4), 0, 1), 20.0)
    open_bronchi = _bronchi(canvas, box)
    # Acini that are not quite full make it mottled.
    full = np.clip(1 - rng.uniform(0, 0.2) * np.maximum(0, canvas.noise(box, 8.0)), 0.5, 1)
    view = canvas.volume_hu[box]
    view[...] = fill_air(view, alpha * full * (1 - 0.97 * open_bronchi), rng.uniform(5, 60) + 12 * canvas.noise(box, 6))
    core = alpha > 0.5
    seen = float((open_bronchi[core] > 0.5).mean()) if core.any() else 0.0
    attributes = ["solid"] if seen < LEAST_OPEN else []
    return painted(canvas, "consolidation", box, core, attributes, diameter, haze)


def _bronchi(canvas: Canvas, box: Box) -> np.ndarray:
    """Open airways through a box, 0 to 1: the thin set on which two smooth fields are both near zero."""
    scale_mm = float(canvas.rng.choice([8.0, 16.0]))
    first, second = canvas.noise(box, scale_mm), canvas.noise(box, scale_mm)
    # As thick in millimetres on either scale, and thick enough for a grid of 2 mm to show them.
    width = canvas.rng.uniform(2.0, 3.5) / scale_mm
    return np.exp(-((first**2 + second**2) / width**2))


GROUND_GLASS_OPACITY = Finding(
    "ground_glass_opacity",
    paint_ground_glass,
    mistaken_for=("consolidation", "nodule", "reticulation"),
    indistinct_from=("reticulation", "honeycombing"),
)

CONSOLIDATION = Finding(
    "consolidation",
    paint_consolidation,
    mistaken_for=("mass", "lesion", "ground_glass_opacity", "pleural_effusion"),
    indistinct_from=("atelectasis",),
)
