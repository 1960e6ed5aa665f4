"""Fluid around the heart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.synthesis.findings.canvas import Canvas, Painted, bounds, ramp
from tips_med.synthesis.organs import LABELS

FIRM = tuple(LABELS[organ] for organ in ("aorta", "spine", "esophagus", "trachea", "sternum", "liver", "stomach"))
"""What fluid doesn't push aside."""


def paint_pericardial_effusion(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A layer of fluid of 4 to 30 mm around the heart, thickest behind it; it has no side.

    None where the heart isn't labelled, or a side is asked for.
    """
    if canvas.organs is None or side is not None:
        return None
    heart = canvas.organs == LABELS["heart"]
    if heart.sum() < 400:
        return None
    rng = canvas.rng
    thick_mm = float(np.exp(rng.uniform(np.log(5), np.log(26))))
    margin = int(np.ceil(1.6 * thick_mm / min(canvas.spacing_mm)))
    box = bounds(heart, margin)
    away = np.asarray(ndimage.distance_transform_edt(~heart[box], canvas.spacing_mm))
    rows = np.flatnonzero(heart[box].any(axis=(0, 2)))
    behind = (np.arange(away.shape[1], dtype=np.float32) - rows.mean()) / max(1, np.ptp(rows))
    thick = thick_mm * np.clip(1 + 0.9 * behind[None, :, None] + 0.25 * canvas.noise(box, 30.0), 0.15, 1.7)
    firm = np.isin(canvas.organs[box], FIRM)
    view = canvas.volume_hu[box]
    free = ~heart[box] & ~firm & ~canvas.taken[box] & (view < 150)
    fluid = ramp(thick - away, 2.5) * free
    inside = fluid > 0.5
    if inside.sum() < 60:
        return None
    view += fluid * (rng.uniform(-5, 25) + 4 * canvas.noise(box, 12.0) - view)
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = inside
    canvas.lungs[mask] = 0
    canvas.taken |= mask
    size = "mild" if thick_mm < 10 else "moderate" if thick_mm < 20 else "severe"
    return Painted("pericardial_effusion", None, mask, (size,), structure="pericardium")
