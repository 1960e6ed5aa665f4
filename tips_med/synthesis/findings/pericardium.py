"""Fluid around the heart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.synthesis.findings.canvas import Canvas, Painted, bounds, ramp
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.organs import LABELS


def paint_pericardial_effusion(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A layer of fluid of 4 to 30 mm around the heart, thickest behind it; it has no side.

    It pushes lung and fat aside, and stays on the heart's side of whatever else is labelled there.

    None where the heart isn't labelled, or a side is requested.
    """
    if canvas.organs is None or side is not None:
        return None
    heart = canvas.organs == LABELS["heart"]
    if heart.sum() < 400:
        return None
    rng = canvas.rng
    thick_mm = float(np.exp(rng.uniform(np.log(5), np.log(22))))
    margin = int(np.ceil(1.4 * thick_mm / min(canvas.spacing_mm)))
    box = bounds(heart, margin)
    beside = (canvas.organs[box] > 0) & ~heart[box]
    # Binary labels have steps, which a stretched sac has not.
    away = ndimage.gaussian_filter(_distance(canvas, heart[box]), (0, 1.0, 1.0), truncate=2)
    others = _distance(canvas, beside)
    rows = np.flatnonzero(heart[box].any(axis=(0, 2)))
    behind = (np.arange(heart[box].shape[1], dtype=np.float32) - rows.mean()) / max(1, np.ptp(rows))
    thick = thick_mm * np.clip(1 + 0.9 * behind[None, :, None] + 0.25 * canvas.noise(box, 30.0), 0.15, 1.4)
    view = canvas.volume_hu[box]
    free = ~heart[box] & ~beside & ~canvas.taken[box] & (view < 150)
    fluid = ramp(np.minimum(thick, 0.9 * others) - away, 2.5) * free
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


def _distance(canvas: Canvas, mask: np.ndarray) -> np.ndarray:
    """How far from a part of a box each voxel lies, in mm; far where there is none of it."""
    if not mask.any():
        return np.full(mask.shape, 1e3)
    return np.asarray(ndimage.distance_transform_edt(~mask, canvas.spacing_mm))


PERICARDIAL_EFFUSION = Finding("pericardial_effusion", paint_pericardial_effusion)
