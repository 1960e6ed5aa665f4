"""Findings painted into anatomy, each with its physics and its look.

Every painter changes a canvas in place and returns what it painted, or None where there was no room. Air spaces are
filled in proportion to the air that is in them, so that vessels stay visible in ground-glass and bronchi stay open in
consolidation, as the Fleischner glossary defines them (Hansell 2008, doi:10.1148/radiol.2462070712).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tips_med.synthesis.anatomy import LEFT, RIGHT
from tips_med.synthesis.noise import smooth_noise

SIDES = {RIGHT: "right", LEFT: "left"}
EVERYWHERE = (slice(None), slice(None), slice(None))


@dataclass(eq=False)
class Canvas:
    """What is being painted on.

    Attributes:
        volume_hu: float32 [slab y x], changed in place.
        lungs: 1 right, 2 left, [slab y x]; shrinks where fluid or air takes the lung's place.
        spacing_mm: Between slabs, rows and columns.
        rng: The only source of chance.
        taken: Where something is already, [slab y x].
    """

    volume_hu: np.ndarray
    lungs: np.ndarray
    spacing_mm: tuple[float, float, float]
    rng: np.random.Generator
    taken: np.ndarray

    def noise(self, box: tuple[slice, slice, slice], scale_mm: float) -> np.ndarray:
        """Smooth noise for a part of the canvas."""
        return smooth_noise(self.volume_hu[box].shape, scale_mm, self.spacing_mm, self.rng)

    def place(self, side: int | None = None) -> np.ndarray | None:
        """A random free voxel of the lungs, as [slab y x]; None where there is none."""
        free = (self.lungs > 0 if side is None else self.lungs == side) & ~self.taken
        where = np.flatnonzero(free)
        if not len(where):
            return None
        return np.array(np.unravel_index(self.rng.choice(where), free.shape))


@dataclass(frozen=True, eq=False)
class Painted:
    """One finding that was painted.

    Attributes:
        finding: Its term in the lexicon.
        side: ``left`` or ``right``.
        mask: Where it is, [slab y x].
        attributes: Terms of the lexicon that are true of it.
        size_mm: Its diameter, where that means something.
        haze: Where lung beside it is hazy without being the finding, [slab y x]: neither ground glass nor free of it.
    """

    finding: str
    side: str
    mask: np.ndarray
    attributes: tuple[str, ...] = ()
    size_mm: float | None = None
    haze: np.ndarray | None = None


def fill_air(volume_hu: np.ndarray, fraction: np.ndarray, fluid_hu: np.ndarray | float) -> np.ndarray:
    """Replaces a fraction of the *air* of every voxel by fluid; what holds no air (vessels) stays as it was."""
    air = np.clip(-volume_hu / 1000.0, 0.0, 1.0)
    return volume_hu + fraction * air * (1000.0 + np.asarray(fluid_hu, np.float32))


def paint_nodule(canvas: Canvas, side: int | None = None, diameter_mm: float | None = None) -> Painted | None:
    """A nodule of 4 to 30 mm: solid, part-solid or ground-glass; round, lobulated or spiculated."""
    rng = canvas.rng
    diameter = diameter_mm or float(np.exp(rng.uniform(np.log(5), np.log(30))))
    kind = rng.choice(["solid", "part_solid", "ground_glass"], p=[0.6, 0.18, 0.22])
    if kind != "solid":
        diameter = max(diameter, 7.0)
    spiculated = kind != "ground_glass" and diameter > 9 and rng.random() < 0.35
    blob = _blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.05, 0.28), spiculated=spiculated)
    if blob is None:
        return None
    box, radius = blob
    alpha = _soft(radius, diameter, edge_mm=rng.uniform(1.5, 2.5) if kind == "solid" else rng.uniform(2, 4))
    alpha *= _inside_lung(canvas, box)
    view = canvas.volume_hu[box]
    solid_hu = rng.uniform(-40, 110) + 15 * canvas.noise(box, 4)
    if kind == "solid":
        view += alpha * (np.maximum(view, solid_hu) - view)
        if diameter > 8 and rng.random() < 0.08:
            view += alpha * (radius < rng.uniform(0.3, 0.9)) * rng.uniform(150, 700)
    else:
        density = rng.uniform(0.2, 0.5) * (1 + 0.15 * canvas.noise(box, 5))
        view[...] = fill_air(view, np.clip(alpha * density, 0, 0.95), 20.0)
        if kind == "part_solid":
            core = _soft(radius, diameter, edge_mm=2.0, at=rng.uniform(0.35, 0.7))
            view += core * alpha * (np.maximum(view, solid_hu) - view)
    attributes = [str(kind)] + (["spiculated"] if spiculated else [])
    return _painted(canvas, "nodule", box, alpha > 0.5, attributes, diameter)


def paint_mass(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A mass of 30 to 90 mm: lobulated or spiculated, some with a dead middle or a cavity; it may reach the pleura."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(30), np.log(90))))
    spiculated = bool(rng.random() < 0.45)
    blob = _blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.1, 0.4), spiculated=spiculated)
    if blob is None:
        return None
    box, radius = blob
    alpha = _soft(radius, diameter, edge_mm=rng.uniform(1.5, 4)) * _inside_lung(canvas, box)
    view = canvas.volume_hu[box]
    target = rng.uniform(-10, 100) + rng.uniform(5, 25) * canvas.noise(box, 8)
    inner = _soft(radius, diameter, edge_mm=8, at=rng.uniform(0.3, 0.7))
    kind = rng.random()
    if kind < 0.3:
        target = target - inner * rng.uniform(15, 50)
    elif kind < 0.42:
        target = target + inner * (-920 - target)
    halo = None
    if rng.random() < 0.3:  # a rim of ground glass around it
        halo = _soft(radius, diameter, edge_mm=6, at=1 + rng.uniform(5, 12) / diameter) * _inside_lung(canvas, box)
        view[...] = fill_air(view, halo * rng.uniform(0.15, 0.4), 20.0)
    view += alpha * (target - view)
    attributes = ["spiculated"] if spiculated else ["lobulated"]
    return _painted(canvas, "mass", box, alpha > 0.5, attributes, diameter, halo)


def paint_ground_glass(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Ground-glass opacity: patches of 12 to 110 mm with hazy edges, through which vessels stay visible."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(12), np.log(110))))
    blob = _blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.15, 0.6), spiculated=False)
    if blob is None:
        return None
    box, radius = blob
    alpha = _soft(radius, diameter, edge_mm=rng.uniform(2.5, 12)) * _inside_lung(canvas, box)
    density = rng.uniform(0.14, 0.5) * (1 + 0.2 * canvas.noise(box, rng.choice([4.0, 8.0, 16.0])))
    fraction = np.clip(alpha * density, 0, 0.9)
    view = canvas.volume_hu[box]
    view[...] = fill_air(view, fraction, 20.0)
    return _painted(canvas, "ground_glass_opacity", box, (alpha > 0.5), [], diameter)


def paint_consolidation(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Consolidation: air spaces filled, vessels drowned, some bronchi still open; 20 to 130 mm, hazy at its edge."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(20), np.log(130))))
    blob = _blob(canvas, canvas.place(side), diameter, rough=rng.uniform(0.3, 0.8), spiculated=False)
    if blob is None:
        return None
    box, radius = blob
    inside = _inside_lung(canvas, box)
    alpha = _soft(radius, diameter, edge_mm=rng.uniform(3, 9)) * inside
    haze = None
    if rng.random() < 0.5:
        haze = _soft(radius, diameter, edge_mm=10, at=1 + rng.uniform(6, 20) / diameter) * inside
        canvas.volume_hu[box] = fill_air(canvas.volume_hu[box], np.clip(haze * rng.uniform(0.15, 0.4), 0, 1), 20.0)
    filled = alpha * rng.uniform(0.9, 1.0)
    if rng.random() < 0.7:
        filled *= 1 - 0.97 * _bronchi(canvas, box, radius)
    view = canvas.volume_hu[box]
    view[...] = fill_air(view, filled, rng.uniform(5, 60) + 12 * canvas.noise(box, 6))
    return _painted(canvas, "consolidation", box, alpha > 0.5, [], diameter, haze)


def paint_effusion(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Free pleural fluid: at the back, climbing the chest wall in a meniscus, pressing on the lung above it."""
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    depth = canvas.spacing_mm[1] * np.arange(lung.shape[1], dtype=np.float32)[None, :, None]
    rows = depth[0, np.flatnonzero(lung.any(axis=(0, 2))), 0]
    level = rows.max() - float(np.exp(rng.uniform(np.log(8), np.log(0.75 * (np.ptp(rows) + 12)))))
    from_wall = np.asarray(ndimage.distance_transform_edt(lung, canvas.spacing_mm))
    climb = rng.uniform(5, 40) * np.exp(-from_wall / rng.uniform(5, 14))
    tilt = rng.uniform(-0.15, 0.15) * canvas.spacing_mm[2] * np.arange(lung.shape[2], dtype=np.float32)
    surface = depth + climb + tilt - tilt.mean() + 3 * canvas.noise(EVERYWHERE, 20) - level
    fluid = np.clip(surface / 3 + 0.5, 0, 1) * lung
    if (fluid > 0.5).sum() < 60:
        return None
    pressed = np.clip(1 - np.abs(surface) / rng.uniform(4, 25), 0, 1) * (surface < 0) * lung
    volume = canvas.volume_hu
    volume[...] = fill_air(volume, pressed * rng.uniform(0.2, 0.9), 30.0)
    volume += fluid * (rng.uniform(-5, 30) + 4 * canvas.noise(EVERYWHERE, 12) - volume)
    mask = fluid > 0.5
    canvas.lungs[mask] = 0
    canvas.taken |= mask
    return Painted("pleural_effusion", SIDES[side], mask, haze=pressed > 0.05)


def paint_pneumothorax(canvas: Canvas, side: int | None = None) -> Painted | None:
    """Air in the pleural space: it rises to the front, without vessels, behind the thin line of the visceral pleura."""
    rng = canvas.rng
    side = side or int(rng.choice([RIGHT, LEFT]))
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    depth = canvas.spacing_mm[1] * np.arange(lung.shape[1], dtype=np.float32)[None, :, None]
    rows = depth[0, np.flatnonzero(lung.any(axis=(0, 2))), 0]
    level = rows.min() + float(np.exp(rng.uniform(np.log(6), np.log(0.5 * (np.ptp(rows) + 14)))))
    from_wall = np.asarray(ndimage.distance_transform_edt(lung, canvas.spacing_mm))
    reach = rng.uniform(0, 40) * np.exp(-from_wall / rng.uniform(4, 12))
    surface = level + reach + 5 * canvas.noise(EVERYWHERE, 30) - depth
    air = np.clip(surface / 2 + 0.5, 0, 1) * lung
    mask = air > 0.5
    if mask.sum() < 60:
        return None
    volume = canvas.volume_hu
    volume[...] = fill_air(volume, (np.clip(1 - np.abs(surface) / 12, 0, 1) * lung) * rng.uniform(0, 0.2), 20.0)
    line = np.exp(-((surface + 1) ** 2) / 2.5) * lung
    volume += air * (rng.uniform(-1005, -985) - volume)
    volume += line * (1 - air) * rng.uniform(150, 500)
    canvas.lungs[mask] = 0
    canvas.taken |= mask
    return Painted("pneumothorax", SIDES[side], mask)


Painter = Callable[..., Painted | None]

PAINTERS: dict[str, Painter] = {
    "nodule": paint_nodule,
    "mass": paint_mass,
    "ground_glass_opacity": paint_ground_glass,
    "consolidation": paint_consolidation,
    "pleural_effusion": paint_effusion,
    "pneumothorax": paint_pneumothorax,
}
"""The findings that can be painted, by their term in the lexicon."""


def _blob(
    canvas: Canvas, centre: np.ndarray | None, diameter_mm: float, *, rough: float, spiculated: bool
) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
    """A box around an irregular ellipsoid, and the relative distance from its centre: 1 at its edge."""
    if centre is None:
        return None
    rng = canvas.rng
    half = np.ceil(diameter_mm * 0.95 / np.asarray(canvas.spacing_mm)).astype(int) + 2
    low = np.maximum(0, centre - half)
    high = np.minimum(canvas.volume_hu.shape, centre + half + 1)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    axes = (np.arange(a, b, dtype=np.float32) - c for a, b, c in zip(low, high, centre))
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * np.asarray(canvas.spacing_mm, np.float32)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    stretch = np.exp(rng.uniform(-0.25, 0.25, 3))
    stretch /= stretch.max()  # the diameter is the longest one
    turned = offset @ (rotation / (stretch * diameter_mm / 2)).astype(np.float32)
    radius = np.linalg.norm(turned, axis=-1)
    scale = float(2.0 ** np.round(np.log2(np.clip(diameter_mm * rng.uniform(0.25, 0.6), 4, 32))))
    radius = radius + rough * canvas.noise(box, scale)
    if spiculated:
        spikes = rng.standard_normal((int(rng.integers(6, 18)), 3)).astype(np.float32)
        spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
        direction = turned / np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
        sharpness = rng.uniform(25, 90)
        near = np.exp(sharpness * (direction @ spikes.T - 1)) * rng.uniform(0.2, 0.6, len(spikes)).astype(np.float32)
        radius = radius / (1 + near.max(axis=-1))
    return box, radius.astype(np.float32)


def _soft(radius: np.ndarray, diameter_mm: float, edge_mm: float, at: float = 1.0) -> np.ndarray:
    """1 inside, 0 outside, with an edge ``edge_mm`` wide where the relative distance is ``at``."""
    return np.clip((at - radius) * diameter_mm / 2 / edge_mm + 0.5, 0, 1)


def _inside_lung(canvas: Canvas, box: tuple[slice, slice, slice]) -> np.ndarray:
    """The lung that the box is mostly in, without what is taken, as 0 or 1."""
    lungs = canvas.lungs[box]
    counts = np.bincount(lungs[tuple(n // 2 for n in lungs.shape)].ravel(), minlength=3)
    middle = counts[1:].argmax() + 1 if counts[1:].any() else np.bincount(lungs.ravel(), minlength=3)[1:].argmax() + 1
    return ((lungs == middle) & ~canvas.taken[box]).astype(np.float32)


def _bronchi(canvas: Canvas, box: tuple[slice, slice, slice], radius: np.ndarray) -> np.ndarray:
    """Open airways through a box, 0 to 1: the thin set on which two smooth fields are both near nought."""
    first, second = canvas.noise(box, 16.0), canvas.noise(box, 16.0)
    width = canvas.rng.uniform(0.08, 0.16)
    return np.exp(-(first**2 + second**2) / width**2) * (radius < 0.85)


def _painted(
    canvas: Canvas,
    finding: str,
    box: tuple[slice, slice, slice],
    inside: np.ndarray,
    attributes: list[str],
    size_mm: float,
    haze: np.ndarray | None = None,
) -> Painted | None:
    if inside.sum() < 3:
        return None
    mask = np.zeros(canvas.volume_hu.shape, bool)
    mask[box] = inside
    hazy = None
    if haze is not None:
        hazy = np.zeros_like(mask)
        hazy[box] = haze > 0.05
    canvas.taken |= mask
    sides = np.bincount(canvas.lungs[mask], minlength=3)
    return Painted(finding, SIDES[int(sides[1:].argmax()) + 1], mask, tuple(attributes), size_mm, hazy)
