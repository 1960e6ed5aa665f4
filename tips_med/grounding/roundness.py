"""How round what lies at a place is, by the scan alone: a nodule is round, a vessel is long."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from tips_med.resampling import resample
from tips_med.scan import Scan

SCALES_MM = (1.5, 2.5, 4.0, 5.5)
"""Standard deviations of the Gaussians: a ball answers most to a fourth to a third of its diameter."""

REACH_MM = 4.5
"""A mark may lie beside the middle of a nodule."""

_HALF_MM = 16
_LOW_HU, _HIGH_HU = -1000.0, 100.0


def roundness(scan: Scan, places_lps: np.ndarray) -> np.ndarray:
    """Dot enhancement of places: how much brighter they are than what lies around them in **every** direction.

    The filter for nodules of Li, Sone and Doi 2003 (Medical Physics 30, 2040): with the eigenvalues of the Hessian of
    the smoothed scan, the square of the smallest over the largest where the scan falls off to all sides, else 0; the
    largest over four scales and within 4.5 mm. Along a straight vessel the scan does not fall off, so it has little.

    Args:
        scan: CT scan, in HU.
        places_lps: Places, LPS in mm [n 3].

    Returns:
        ln(1 + enhancement in HU) [n], 0 or more.
    """
    return np.array([dot_enhancement(_cube(scan, place)) for place in places_lps], np.float64)


def dot_enhancement(cube: np.ndarray) -> float:
    """The dot enhancement within 4.5 mm of the middle of a cube of 1 mm voxels, HU [33 33 33]; see ``roundness``."""
    image = np.clip(np.nan_to_num(cube, nan=_LOW_HU), _LOW_HU, _HIGH_HU).astype(np.float32)
    reach = int(REACH_MM)
    offsets = np.indices((2 * reach + 1,) * 3) - reach
    near = np.linalg.norm(offsets, axis=0) <= REACH_MM
    middle = tuple(slice(n // 2 - reach, n // 2 + reach + 1) for n in image.shape)
    strongest = 0.0
    for scale in SCALES_MM:
        hessian = np.empty((*near.shape, 3, 3), np.float32)
        for row, column in itertools.combinations_with_replacement(range(3), 2):
            order = [(axis == row) + (axis == column) for axis in range(3)]
            slope = ndimage.gaussian_filter(image, scale, order=order, truncate=3)[middle]  # pyright: ignore[reportArgumentType]
            hessian[..., row, column] = hessian[..., column, row] = slope * scale**2
        falls = -np.linalg.eigvalsh(hessian[near])  # the steepest first
        least = np.clip(falls[:, 2], 0, None)
        strongest = max(strongest, float((least**2 / np.clip(falls[:, 0], 1e-3, None)).max()))
    return float(np.log1p(strongest))


def _cube(scan: Scan, place_lps: np.ndarray) -> np.ndarray:
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = affine[3, 3] = 1
    affine[:3, 3] = np.asarray(place_lps) - _HALF_MM
    size = 2 * _HALF_MM + 1
    return resample(scan.voxels, scan.lps_from_kji, affine, (size, size, size))
