"""What fills the pleural space: fluid and air."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.anatomy import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import EVERYWHERE, SIDES, Box, Canvas, Painted, bounds, depth_mm, fill_air


def paint_effusion(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Free pleural fluid: at the back, climbing the chest wall in a meniscus, pressing on the lung above it."""
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    found = _side(canvas, side)
    if found is None:
        return None
    box, lung, from_wall, depth = found
    rows = depth[0, np.flatnonzero(lung.any(axis=(0, 2))), 0]
    level = rows.max() - float(np.exp(rng.uniform(np.log(8), np.log(0.75 * (np.ptp(rows) + 12)))))
    climb = rng.uniform(5, 40) * np.exp(-from_wall / rng.uniform(5, 14))
    tilt = rng.uniform(-0.15, 0.15) * canvas.spacing_mm[2] * np.arange(canvas.lungs.shape[2], dtype=np.float32)
    surface = depth + climb + tilt[box[2]] - tilt.mean() + 3 * canvas.noise(EVERYWHERE, 20)[box] - level
    fluid = np.clip(surface / 3 + 0.5, 0, 1) * lung
    if (fluid > 0.5).sum() < 60:
        return None
    pressed = np.clip(1 - np.abs(surface) / rng.uniform(4, 25), 0, 1) * (surface < 0) * lung
    volume = canvas.volume_hu[box]
    volume[...] = fill_air(volume, pressed * rng.uniform(0.2, 0.9), 30.0)
    volume += fluid * (rng.uniform(-5, 30) + 4 * canvas.noise(EVERYWHERE, 12)[box] - volume)
    haze = np.zeros(canvas.taken.shape, bool)
    haze[box] = pressed > 0.05
    return Painted("pleural_effusion", SIDES[side], _instead(canvas, box, fluid > 0.5), haze=haze, structure="pleura")


def paint_pneumothorax(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Air in the pleural space: it rises to the front, without vessels, behind the thin line of the visceral pleura."""
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    found = _side(canvas, side)
    if found is None:
        return None
    box, lung, from_wall, depth = found
    rows = depth[0, np.flatnonzero(lung.any(axis=(0, 2))), 0]
    level = rows.min() + float(np.exp(rng.uniform(np.log(6), np.log(0.5 * (np.ptp(rows) + 14)))))
    reach = rng.uniform(0, 40) * np.exp(-from_wall / rng.uniform(4, 12))
    surface = level + reach + 5 * canvas.noise(EVERYWHERE, 30)[box] - depth
    air = np.clip(surface / 2 + 0.5, 0, 1) * lung
    if (air > 0.5).sum() < 60:
        return None
    volume = canvas.volume_hu[box]
    volume[...] = fill_air(volume, (np.clip(1 - np.abs(surface) / 12, 0, 1) * lung) * rng.uniform(0, 0.2), 20.0)
    line = np.exp(-((surface + 1) ** 2) / 2.5) * lung
    volume += air * (rng.uniform(-1005, -985) - volume)
    volume += line * (1 - air) * rng.uniform(150, 500)
    return Painted("pneumothorax", SIDES[side], _instead(canvas, box, air > 0.5), structure="pleura")


def _side(canvas: Canvas, side: int) -> tuple[Box, np.ndarray, np.ndarray, np.ndarray] | None:
    """A lung in its box: the box, the lung, how deep within it each voxel lies, and how far back each row, in mm."""
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    box = bounds(lung)
    lung = lung[box]
    back = canvas.spacing_mm[1] * np.arange(canvas.lungs.shape[1], dtype=np.float32)[box[1]]
    return box, lung, depth_mm(lung, canvas.spacing_mm), back[None, :, None]


def _instead(canvas: Canvas, box: Box, inside: np.ndarray) -> np.ndarray:
    """Enters on the canvas what took the lung's place."""
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = inside
    canvas.lungs[mask] = 0
    canvas.taken |= mask
    return mask
