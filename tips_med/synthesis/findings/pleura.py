"""What fills the pleural space: fluid and air.

Much fluid pushes the mediastinum away and the diaphragm down; around a collapsed lung it may be pulled instead.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import (
    EVERYWHERE,
    SIDES,
    Box,
    Canvas,
    Painted,
    bounds,
    depth_mm,
    fill_air,
    ramp,
)
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.shift import shift_towards

KINDS = {"free": 0.46, "loculated": 0.2, "subpulmonic": 0.14, "fissural": 0.08, "white_out": 0.12}
"""How often an effusion is of each kind; one without room is painted as free fluid."""

MUCH = 0.5
"""The share of the chest's depth from which free fluid moves what is beside it."""

LEAST_CELLS = 60
"""What fills less of the grid is no effusion."""


def paint_effusion(canvas: Canvas, side: int | None = None, kind: str | None = None) -> Painted | None:
    """Pleural fluid: free, from a thin meniscus to most of the space, loculated, subpulmonic, in a fissure, or all.

    Args:
        canvas: Canvas to paint on.
        side: Side, 1 right, 2 left; either when None.
        kind: Kind, one of ``KINDS``; any of them when None.
    """
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "white_out":
        chance = rng.random()
        if chance < 0.8:
            shift_towards(
                canvas, side, -rng.uniform(4, 35) if chance < 0.6 else rng.uniform(4, 20), -rng.uniform(0, 30)
            )
    elif kind == "subpulmonic" and rng.random() < 0.7:
        shift_towards(canvas, side, 0.0, -rng.uniform(5, 30))
    found = _side(canvas, side)
    if found is None:
        return None
    made = None
    if kind == "white_out":
        made = _white_out(canvas, side, *found[:2])
    elif kind != "free":
        made = _encysted(canvas, side, kind, *found[:3])
    return made or _free(canvas, side, *found)


def _free(
    canvas: Canvas, side: int, box: Box, lung: np.ndarray, from_wall: np.ndarray, depth: np.ndarray
) -> Painted | None:
    """Where gravity takes it, climbing the chest wall in a meniscus, pressing on the lung above it."""
    rng = canvas.rng
    inside = depth[lung.any(axis=0)]
    fills_mm = float(np.exp(rng.uniform(np.log(7), np.log(0.9 * (np.ptp(inside) + 12)))))
    if rng.random() < 0.25:  # a litre and more
        fills_mm = rng.uniform(MUCH, 0.95) * np.ptp(inside)
    much = fills_mm > MUCH * np.ptp(inside) and rng.random() < 0.7
    if much and shift_towards(canvas, side, -rng.uniform(3, 28), -rng.uniform(0, 30)):
        found = _side(canvas, side)
        if found is None:
            return None
        box, lung, from_wall, depth = found
        inside = depth[lung.any(axis=0)]
    level = inside.max() - fills_mm
    climb = rng.uniform(5, 40) * np.exp(-from_wall / rng.uniform(5, 14))
    tilt = rng.uniform(-0.15, 0.15) * canvas.spacing_mm[2] * np.arange(lung.shape[2], dtype=np.float32)
    surface = depth[None] + climb + tilt - tilt.mean() + 3 * canvas.noise(EVERYWHERE, 20)[box] - level
    fluid = ramp(surface, 3) * lung
    if (fluid > 0.5).sum() < LEAST_CELLS:
        return None
    haze = np.zeros(canvas.taken.shape, bool)
    pressed = np.clip(1 - np.abs(surface) / rng.uniform(4, 25), 0, 1) * (surface < 0) * lung
    volume = canvas.volume_hu[box]
    volume[...] = fill_air(volume, pressed * rng.uniform(0.2, 0.9), 30.0)
    haze[box] = pressed > 0.05
    more: tuple[Painted, ...] = ()
    band_mm = rng.uniform(6, 30)
    if fills_mm > 35 and rng.random() < 0.75:  # so much fluid leaves lung without air beside it
        beside = ramp(surface + band_mm + 4 * canvas.noise(EVERYWHERE, 20)[box], 3) * (1 - fluid) * lung
        more = _airless(canvas, side, box, beside, fluid)
    _fill(canvas, box, fluid)
    mask = _instead(canvas, box, fluid > 0.5)
    return Painted("pleural_effusion", SIDES[side], mask, haze=haze, structure="pleura", more=more)


def _white_out(canvas: Canvas, side: int, box: Box, lung: np.ndarray) -> Painted | None:
    """No air is left on this side: fluid around a lung that has shrunk towards its hilum."""
    rng = canvas.rng
    points = np.argwhere(lung) * np.asarray(canvas.spacing_mm)
    # The hilum: towards the middle of the body, which lies to the left of the right lung.
    x = points[:, 2].max() if side == RIGHT else points[:, 2].min()
    hilum = np.array([points[:, 0].mean() + rng.uniform(-30, 30), np.median(points[:, 1]), x])
    z, y, x = (step * np.arange(n, dtype=np.float32) for n, step in zip(lung.shape, canvas.spacing_mm))
    radius_mm = rng.uniform(18, 55)
    away = np.sqrt(
        ((z[:, None, None] - hilum[0]) / 1.8) ** 2
        + ((y[None, :, None] - hilum[1]) / 1.2) ** 2
        + (x[None, None, :] - hilum[2]) ** 2
    )
    shrunk = ramp(radius_mm + 6 * canvas.noise(EVERYWHERE, 24)[box] - away, 3) * lung
    whole = ndimage.grey_dilation(lung.astype(np.float32), (1, 3, 3)) * (canvas.volume_hu[box] < -100)
    fluid = np.maximum(lung.astype(np.float32), whole)
    inside = (fluid * (1 - shrunk) > 0.5) & lung
    if inside.sum() < LEAST_CELLS:
        return None
    more = _airless(canvas, side, box, shrunk, fluid * (1 - shrunk))
    _fill(canvas, box, fluid * (1 - shrunk))
    return Painted("pleural_effusion", SIDES[side], _instead(canvas, box, inside), structure="pleura", more=more)


def _encysted(
    canvas: Canvas, side: int, kind: str, box: Box, lung: np.ndarray, from_wall: np.ndarray
) -> Painted | None:
    """Fluid that stays where it is: a lens on the pleura, one or two; under the lung; or between two lobes."""
    rng = canvas.rng
    if kind == "subpulmonic":
        fluid = _under(canvas, box, lung)
    elif kind == "fissural":
        fluid = _between(canvas, lung)
    else:
        fluid = np.zeros(lung.shape, np.float32)
        for _ in range(1 if rng.random() < 0.7 else 2):
            fluid = np.maximum(fluid, _lens(canvas, lung, from_wall))
    fluid = fluid * lung
    if (fluid > 0.5).sum() < LEAST_CELLS:
        return None
    around = ndimage.gaussian_filter(fluid, [4 / step for step in canvas.spacing_mm]) * (1 - fluid) * lung
    volume = canvas.volume_hu[box]
    volume[...] = fill_air(volume, around * rng.uniform(0.2, 1.2), 30.0)
    haze = np.zeros(canvas.taken.shape, bool)
    haze[box] = around > 0.05
    _fill(canvas, box, fluid)
    mask = _instead(canvas, box, fluid > 0.5)
    return Painted("pleural_effusion", SIDES[side], mask, haze=haze, structure="pleura")


def _lens(canvas: Canvas, lung: np.ndarray, from_wall: np.ndarray) -> np.ndarray:
    """A lens on the pleura, bulging into the lung."""
    rng = canvas.rng
    spacing = np.asarray(canvas.spacing_mm)
    rim = np.argwhere(lung & (from_wall < 5))
    if not len(rim):
        return np.zeros(lung.shape, np.float32)
    centre = rim[int(rng.integers(len(rim)))]
    half_mm, thick_mm = rng.uniform(15, 75), rng.uniform(8, 45)
    # Inwards is where the distance from the wall grows.
    near = tuple(slice(max(0, c - 6), c + 7) for c in centre)
    slopes = [float(np.mean(g)) for g in np.gradient(ndimage.gaussian_filter(from_wall[near], 2), *spacing)]
    inward = np.array(slopes) / max(1e-6, float(np.linalg.norm(slopes)))
    offset = [step * (np.arange(n, dtype=np.float32) - c) for n, step, c in zip(lung.shape, spacing, centre)]
    z, y, x = offset[0][:, None, None], offset[1][None, :, None], offset[2][None, None, :]
    deep = z * inward[0] + y * inward[1] + x * inward[2]
    aside = np.sqrt(np.maximum(z**2 + y**2 + x**2 - deep**2, 0))
    rough = 2.5 * canvas.noise(EVERYWHERE, 20)[: lung.shape[0], : lung.shape[1], : lung.shape[2]]
    bulge = thick_mm * np.sqrt(np.clip(1 - (aside / half_mm) ** 2, 0, 1))
    return ramp(bulge - np.minimum(np.abs(deep), from_wall) + rough, 3) * (aside < half_mm) * (deep < thick_mm + 4)


def _under(canvas: Canvas, box: Box, lung: np.ndarray) -> np.ndarray:
    """Between lung and diaphragm: above the lung's lowest slab at each row and column, if the scene shows it."""
    rng = canvas.rng
    step = canvas.spacing_mm[0]
    lowest = np.where(lung.any(axis=0), lung.argmax(axis=0), 10_000).astype(np.float32)
    shown = lung.any(axis=0) & (lowest + box[0].start > 0)
    height_mm = float(np.exp(rng.uniform(np.log(10), np.log(90))))
    z = step * np.arange(len(lung), dtype=np.float32)[:, None, None]
    above = z - step * np.where(shown, lowest, np.inf)[None]
    if rng.random() < 0.5:  # as high above the diaphragm everywhere
        top = height_mm * (1 + 0.2 * canvas.noise(EVERYWHERE, 30)[box])
        return ramp(top - above, 3) * np.isfinite(above)
    if not shown.any():
        return np.zeros(lung.shape, np.float32)
    level = step * float(np.percentile(lowest[shown], 20)) + height_mm  # or to one level
    return ramp(level - z + 3 * canvas.noise(EVERYWHERE, 30)[box], 3) * np.isfinite(above)


def _between(canvas: Canvas, lung: np.ndarray) -> np.ndarray:
    """A spindle along an oblique plane through the lung."""
    rng = canvas.rng
    points = np.argwhere(lung)
    spacing = np.asarray(canvas.spacing_mm)
    centre = points[int(rng.integers(len(points)))]
    normal = np.array([rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.0), rng.uniform(-0.3, 0.3)])
    normal /= np.linalg.norm(normal)
    offset = [step * (np.arange(n, dtype=np.float32) - c) for n, step, c in zip(lung.shape, spacing, centre)]
    z, y, x = offset[0][:, None, None], offset[1][None, :, None], offset[2][None, None, :]
    across = z * normal[0] + y * normal[1] + x * normal[2]
    aside = np.sqrt(np.maximum(z**2 + y**2 + x**2 - across**2, 0))
    half_mm, thick_mm = rng.uniform(20, 70), rng.uniform(5, 26)
    return ramp(thick_mm / 2 * np.sqrt(np.clip(1 - (aside / half_mm) ** 2, 0, 1)) - np.abs(across), 2.5) * (
        aside < half_mm
    )


def _fill(canvas: Canvas, box: Box, fluid: np.ndarray) -> None:
    """Water, or what is denser: pus and blood."""
    rng = canvas.rng
    density_hu = rng.uniform(0, 25) if rng.random() < 0.8 else rng.uniform(25, 60)
    density = density_hu + 3 * canvas.noise(box, 12) + 3 * canvas.noise(box, 4)
    volume = canvas.volume_hu[box]
    seam = _at_the_wall(canvas, box, fluid)
    volume += fluid * (density - volume)
    volume[...] = fill_air(volume, seam, density)


def _at_the_wall(canvas: Canvas, box: Box, alpha: np.ndarray) -> np.ndarray:
    """The pixels between lung and chest wall hold some of both: what reaches the wall leaves no air there."""
    view = canvas.volume_hu[box]
    beyond = (canvas.lungs[box] == 0) & ~canvas.taken[box] & (view < 0) & (view > -900)
    return ndimage.grey_dilation(alpha, (1, 3, 3)) * beyond


def _airless(canvas: Canvas, side: int, box: Box, alpha: np.ndarray, fluid: np.ndarray) -> tuple[Painted, ...]:
    """Lung without air beside fluid, enhanced or not; none where it comes to nothing. The fluid is filled in later."""
    rng = canvas.rng
    if (alpha > 0.5).sum() < LEAST_CELLS:
        return ()
    view = canvas.volume_hu[box]
    # Where a voxel holds some of both, the fluid's part must not stay air.
    filled = np.where(alpha > 0, np.minimum(alpha + fluid, 1), _at_the_wall(canvas, box, alpha))
    view[...] = fill_air(
        view, filled * rng.uniform(0.92, 1.0), rng.uniform(35, 120) + 6 * canvas.noise(EVERYWHERE, 8)[box]
    )
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = alpha > 0.5
    canvas.taken |= mask
    return (Painted("atelectasis", SIDES[side], mask, ("dependent",)),)


def paint_pneumothorax(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Air in the pleural space: it rises against gravity, without vessels, behind the thin line of visceral pleura."""
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    found = _side(canvas, side)
    if found is None:
        return None
    box, lung, from_wall, depth = found
    inside = depth[lung.any(axis=0)]
    level = inside.min() + float(np.exp(rng.uniform(np.log(6), np.log(0.5 * (np.ptp(inside) + 14)))))
    reach = rng.uniform(0, 40) * np.exp(-from_wall / rng.uniform(4, 12))
    surface = level + reach + 5 * canvas.noise(EVERYWHERE, 30)[box] - depth[None]
    air = np.clip(surface / 2 + 0.5, 0, 1) * lung
    if (air > 0.5).sum() < LEAST_CELLS:
        return None
    volume = canvas.volume_hu[box]
    volume[...] = fill_air(volume, (np.clip(1 - np.abs(surface) / 12, 0, 1) * lung) * rng.uniform(0, 0.2), 20.0)
    line = np.exp(-((surface + 1) ** 2) / 2.5) * lung
    volume += air * (rng.uniform(-1005, -985) - volume)
    volume += line * (1 - air) * rng.uniform(150, 500)
    return Painted("pneumothorax", SIDES[side], _instead(canvas, box, air > 0.5), structure="pleura")


def _side(canvas: Canvas, side: int) -> tuple[Box, np.ndarray, np.ndarray, np.ndarray] | None:
    """A lung in its box: the box, the lung, how deep within it each voxel lies, and how low each place lies, in mm."""
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    box = bounds(lung)
    lung = lung[box]
    y, x = (step * np.arange(n, dtype=np.float32) for n, step in zip(lung.shape[1:], canvas.spacing_mm[1:]))
    down_y, down_x = canvas.gravity
    return box, lung, depth_mm(lung, canvas.spacing_mm), down_y * y[:, None] + down_x * x[None, :]


def _instead(canvas: Canvas, box: Box, inside: np.ndarray) -> np.ndarray:
    """Enters on the canvas what took the lung's place."""
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = inside
    canvas.lungs[mask] = 0
    canvas.taken |= mask
    return mask


PLEURAL_EFFUSION = Finding(
    "pleural_effusion", paint_effusion, mistaken_for=("consolidation", "atelectasis", "mass"), first=True
)

PNEUMOTHORAX = Finding("pneumothorax", paint_pneumothorax, mistaken_for=("emphysema", "cavity"), first=True)
