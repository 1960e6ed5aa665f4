"""Air spaces that fill: ground glass and consolidation."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.findings.canvas import Box, Canvas, Painted, blob, fill_air, inside_lung, painted, soft


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
    """Consolidation: air spaces filled, vessels drowned, some bronchi still open; 20 to 130 mm, hazy at its edge."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(20), np.log(130))))
    made = blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.3, 0.8), spiculated=False)
    if made is None:
        return None
    box, radius = made
    inside = inside_lung(canvas, box)
    alpha = soft(radius, diameter, edge_mm=rng.uniform(3, 9)) * inside
    haze = None
    if rng.random() < 0.5:
        haze = soft(radius, diameter, edge_mm=10, at=1 + rng.uniform(6, 20) / diameter) * inside
        canvas.volume_hu[box] = fill_air(canvas.volume_hu[box], np.clip(haze * rng.uniform(0.15, 0.4), 0, 1), 20.0)
    filled = alpha * rng.uniform(0.9, 1.0)
    if rng.random() < 0.92:  # without open bronchi it looks like a mass
        filled *= 1 - 0.97 * _bronchi(canvas, box, radius)
    view = canvas.volume_hu[box]
    view[...] = fill_air(view, filled, rng.uniform(5, 60) + 12 * canvas.noise(box, 6))
    return painted(canvas, "consolidation", box, alpha > 0.5, [], diameter, haze)


def _bronchi(canvas: Canvas, box: Box, radius: np.ndarray) -> np.ndarray:
    """Open airways through a box, 0 to 1: the thin set on which two smooth fields are both near nought."""
    first, second = canvas.noise(box, 16.0), canvas.noise(box, 16.0)
    width = canvas.rng.uniform(0.08, 0.16)
    return np.exp(-(first**2 + second**2) / width**2) * (radius < 0.85)
