"""Acquisitions: the same body by another scanner, at another dose, thickness, kernel and contrast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.synthesis.noise import smooth_noise


def acquire(
    volume_hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator, strength: float = 1.0
) -> np.ndarray:
    """Randomises how a body was scanned.

    In turn: contrast phase (what is brighter than soft tissue fades or brightens), slice thickness, kernel (blurred or
    sharpened), dose (noise with the kernel's grain), calibration.

    Args:
        volume_hu: float32 [slab y x].
        spacing_mm: Its spacing.
        rng: The only source of chance.
        strength: 0 leaves the volume as it is.

    Returns:
        Another volume of the same shape.
    """
    out = volume_hu
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
    return np.maximum(out, -1024).astype(np.float32)
