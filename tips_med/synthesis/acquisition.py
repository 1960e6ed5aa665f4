"""Acquisitions: the same body by another scanner, at another dose, thickness, kernel and contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tips_med.synthesis.noise import smooth_noise

NOTHING_HU = -1024.0
"""What stands where nothing was measured."""


@dataclass(frozen=True)
class AcquisitionSpec:
    """Other differences between scanners: the probability of each, 0 to 1.

    Attributes:
        thick: Probability of slices of another thickness, averaged over their profile.
        thickness_mm: Range of the thickness of those slices in mm, from and to.
        cut: Probability that the field of view ends inside the body at one or more of its sides, or follows the patient
            too closely.
        deep: Probability that it ends far inside the body: half of it is shown, one lung, or a window of 100 to 220 mm.
        circle: Probability that nothing is reconstructed outside a circle, which may cut the body.
        padding: Probability that circle or cut is padded with air instead of the scanner's padding value.
        table: Probability of a table under the patient.
        arms: Probability of one or both arms beside the trunk.
        motion: Probability that breathing or a beating heart doubles edges.
    """

    thick: float = 0.0
    thickness_mm: tuple[float, float] = (0.6, 5.0)
    cut: float = 0.0
    deep: float = 0.0
    circle: float = 0.0
    padding: float = 0.5
    table: float = 0.0
    arms: float = 0.0
    motion: float = 0.0


MILD = AcquisitionSpec(thick=0.4, cut=0.1, circle=0.15, table=0.25, arms=0.05, motion=0.1)
"""As often as in a mixed collection of scans."""


def acquire(
    volume_hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    strength: float = 1.0,
    spec: AcquisitionSpec | None = None,
) -> np.ndarray:
    """Randomises how a body was scanned.

    In turn: contrast phase (what is brighter than soft tissue fades or brightens), slice thickness, kernel (blurred or
    sharpened), dose (noise with the kernel's grain), calibration. With ``spec`` also what stands in it: table and arms,
    motion and thickness before the rest.

    Args:
        volume_hu: Hounsfield units, float32 [slab y x].
        spacing_mm: Spacing in mm: slab, y, x.
        rng: Random generator, the only source of randomness.
        strength: Factor of the randomness, 0 or more; 0 leaves the volume as it is.
        spec: Other differences; none when None.

    Returns:
        Another volume of the same shape.
    """
    out = volume_hu
    if spec is not None:
        out = _before(out, spacing_mm, rng, spec)
    if rng.random() < 0.5 * strength:
        bright = np.clip(out - 60, 0, 250) * (out < 400)
        out = out + bright * rng.uniform(-0.8, 0.5)
    if rng.random() < 0.4 * strength and out.shape[0] >= 3:
        weight = rng.uniform(0.1, 0.33)
        out = ndimage.correlate1d(out, [weight, 1 - 2 * weight, weight], axis=0, mode="nearest")
    kernel = rng.uniform(-1, 1)
    if abs(kernel) > 0.3:
        soft = ndimage.gaussian_filter(out, (0, 0.7, 0.7), mode="nearest", truncate=2)
        amount = kernel * strength
        out = out + amount * ((soft - out) if kernel > 0 else 1.2 * (soft - out))
    dose_hu = strength * float(np.exp(rng.uniform(np.log(2), np.log(45))))
    grain_mm = float(rng.choice([2.0, 3.0, 4.0]))
    out = out + dose_hu * smooth_noise(out.shape, grain_mm, spacing_mm, rng)
    out = out * (1 + strength * rng.normal(0, 0.01)) + strength * rng.normal(0, 8)
    return np.maximum(out, NOTHING_HU).astype(np.float32)


def limit_view(
    volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator, spec: AcquisitionSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Takes away what a smaller field of view does not show.

    Args:
        volume_hu: Hounsfield units, float32 [slab y x].
        spacing_mm: Spacing in mm: slab, y, x.
        rng: Random generator, the only source of randomness.
        spec: Probabilities and kinds of cuts.

    Returns:
        The volume, padded where nothing was reconstructed, and where that is, bool [y x].
    """
    unseen = _unseen(volume_hu.shape, rng, spec)
    if rng.random() < spec.deep:
        unseen |= _far_inside(volume_hu, spacing_mm, rng)
    padding = rng.choice([NOTHING_HU, -1000.0], p=_padding(spec))
    return np.where(unseen, padding, volume_hu).astype(np.float32, copy=False), unseen


def thicken(volume_hu: np.ndarray, slab_mm: float, thickness_mm: float) -> np.ndarray:
    """Averages a volume along its slabs over a box profile; a slice thinner than a slab leaves it as it is."""
    half = thickness_mm / slab_mm / 2
    reach = int(np.ceil(half - 0.5))
    if reach < 1:
        return volume_hu
    away = np.abs(np.arange(-reach, reach + 1))
    covered = np.clip(half - away + 0.5, 0, 1)  # of each slab
    return ndimage.correlate1d(volume_hu, covered / covered.sum(), axis=0, mode="nearest")


def add_table(volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Lays the body on a curved table: a shell of carbon fibre around foam, behind whatever of the body is lowest."""
    rows = np.flatnonzero((volume_hu > -300).any(axis=(0, 2)))
    y = spacing_mm[1] * np.arange(volume_hu.shape[1], dtype=np.float32)
    x = spacing_mm[2] * (np.arange(volume_hu.shape[2], dtype=np.float32) - volume_hu.shape[2] / 2)
    top = y[rows[-1]] + rng.uniform(1, 6) if len(rows) else 0.8 * y[-1]
    bent = top - x**2 / rng.uniform(900, 3000) + rng.uniform(0, 20)
    deep = y[:, None] - bent[None, :]
    thick = rng.uniform(15, 40)
    half_mm = rng.uniform(190, 260)
    shell = np.minimum(np.abs(deep), np.abs(deep - thick))
    on = np.abs(x)[None, :] < half_mm
    table = np.where((deep > 0) & (deep < thick), rng.uniform(-960, -850), -2000.0)
    table = np.maximum(table, np.where(shell < 2, rng.uniform(-500, -50), -2000.0))
    table = np.where(on, table, -2000.0)
    # Nothing but air gives way to it.
    return np.where(volume_hu < -700, np.maximum(volume_hu, table * (deep > -3) - 2000.0 * (deep <= -3)), volume_hu)


def add_arms(volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Lays an arm or both beside the trunk, as far as the field of view shows them."""
    columns = np.flatnonzero((volume_hu > -300).any(axis=(0, 1)))
    if not len(columns):
        return volume_hu
    y = spacing_mm[1] * np.arange(volume_hu.shape[1], dtype=np.float32)[:, None]
    x = spacing_mm[2] * np.arange(volume_hu.shape[2], dtype=np.float32)[None, :]
    radius = rng.uniform(34, 52)
    out = volume_hu
    for side in rng.choice([-1, 1], size=int(rng.integers(1, 3)), replace=False):
        edge = x[0, columns[0] if side < 0 else columns[-1]]
        middle = edge + side * (radius + rng.uniform(2, 12)), y.mean() + rng.uniform(-20, 40)
        away = np.hypot((x - middle[0]) * rng.uniform(0.9, 1.15), y - middle[1])
        arm = np.select(
            [away < 6, away < 11, away < 0.75 * radius, away < radius - 2.5, away < radius],
            [60.0, rng.uniform(700, 1300), 55.0, -100.0, 30.0],
            -2000.0,
        )
        out = np.where(out < -700, np.maximum(out, arm), out)
    return out


def add_motion(volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Doubles edges: part of the projections has the body a few mm off, in some of the slabs."""
    shift_mm = rng.uniform(1.5, 5) * rng.choice([-1, 1], 2)
    moved = ndimage.shift(
        volume_hu, (0, shift_mm[0] / spacing_mm[1], shift_mm[1] / spacing_mm[2]), order=1, mode="nearest"
    )
    slabs = np.arange(len(volume_hu), dtype=np.float32)
    reach = max(2.0, 25 / spacing_mm[0])
    near = np.exp(-(((slabs - rng.uniform(0, len(slabs))) / reach) ** 2))
    return volume_hu + rng.uniform(0.2, 0.45) * near[:, None, None] * (moved - volume_hu)


def _before(
    out: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator, spec: AcquisitionSpec
) -> np.ndarray:
    if rng.random() < spec.arms:
        out = add_arms(out, spacing_mm, rng)
    if rng.random() < spec.motion:
        out = add_motion(out, spacing_mm, rng)
    if rng.random() < spec.table:
        out = add_table(out, spacing_mm, rng)
    if rng.random() < spec.thick:
        low, high = np.log(spec.thickness_mm)
        out = thicken(out, spacing_mm[0], float(np.exp(rng.uniform(low, high))))
    return out


def _unseen(shape: tuple[int, ...], rng: np.random.Generator, spec: AcquisitionSpec) -> np.ndarray:
    """Where nothing is reconstructed, [y x]."""
    rows, columns = shape[1:]
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    unseen = np.zeros((rows, columns), bool)
    if rng.random() < spec.cut:
        low, high = rng.uniform(0, 0.12, 2), 1 - rng.uniform(0, 0.12, 2)
        unseen |= (y < low[0] * rows) | (y > high[0] * rows) | (x < low[1] * columns) | (x > high[1] * columns)
    if rng.random() < spec.circle:
        radius = rng.uniform(0.4, 0.62) * max(rows, columns)
        middle = rng.uniform(0.46, 0.54, 2) * (rows, columns)
        unseen |= np.hypot(y - middle[0], x - middle[1]) > radius
    return unseen


def _far_inside(volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """What half a body, one lung or a small window leaves out, [y x]."""
    body = np.asarray((volume_hu > -300).any(axis=0))
    if not body.any():
        return np.zeros(body.shape, bool)
    y, x = np.arange(body.shape[0])[:, None], np.arange(body.shape[1])[None, :]
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    if rng.random() < 0.6:
        edge = (columns[0] + columns[-1]) / 2 + rng.normal(0, 20) / spacing_mm[2]
        return np.broadcast_to(x < edge if rng.random() < 0.5 else x > edge, body.shape)
    half = rng.uniform(50, 110) / np.asarray(spacing_mm[1:])
    middle = rng.uniform(rows[0], rows[-1]), rng.uniform(columns[0], columns[-1])
    return (np.abs(y - middle[0]) > half[0]) | (np.abs(x - middle[1]) > half[1])


def _padding(spec: AcquisitionSpec) -> tuple[float, float]:
    return 1 - spec.padding, spec.padding
