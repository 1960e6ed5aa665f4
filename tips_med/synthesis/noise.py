"""Smooth random fields, made once and cut from many times."""

from __future__ import annotations

from functools import cache

import numpy as np

_SHAPE = (48, 160, 160)


@cache
def _field(scale_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A periodic Gaussian field of unit variance whose details are about ``scale_mm`` wide, [slab y x]."""
    rng = np.random.default_rng(int(scale_mm * 1000))
    spectrum = np.fft.rfftn(rng.standard_normal(_SHAPE, dtype=np.float32))
    for axis, (n, step) in enumerate(zip(_SHAPE, spacing_mm)):
        frequency = np.fft.rfftfreq(n, step) if axis == 2 else np.fft.fftfreq(n, step)
        shape = [1, 1, 1]
        shape[axis] = -1
        spectrum *= np.exp(-2 * (np.pi * frequency * scale_mm / 2.355) ** 2).reshape(shape)
    field = np.fft.irfftn(spectrum, _SHAPE, axes=(0, 1, 2)).astype(np.float32)
    return field / field.std()


def smooth_noise(
    shape: tuple[int, ...], scale_mm: float, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """A cut of a smooth random field of unit variance.

    Args:
        shape: Shape of the cut, [slab y x]; larger than the stored field, it repeats.
        scale_mm: Width of its details (full width at half maximum of the kernel).
        spacing_mm: Spacing of the grid in mm.
        rng: Random generator that chooses the place and the mirroring of the cut.
    """
    field = _field(scale_mm, spacing_mm)
    for axis in range(3):
        index = (rng.integers(field.shape[axis]) + np.arange(shape[axis]) * rng.choice((-1, 1))) % _SHAPE[axis]
        field = field.take(index, axis=axis)
    return field
