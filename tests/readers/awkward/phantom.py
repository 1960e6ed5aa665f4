"""A patient known as a function of LPS position, and the comparison of a volume with it.

No symmetry is left: values rise to the left, to the back and to the head at different rates, and there is a ball on
one side, so that a flip, a swap of axes or a wrong spacing changes what is found at a point.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import map_coordinates

CENTRE = np.array([12.0, -30.0, 55.0])
RADII = np.array([11.0, 13.0, 15.0])
GRADIENT = np.array([3.0, -4.0, 5.0])
BALL = CENTRE + [4.0, -3.0, 5.0]

FAR_BELOW_AIR = -1500.0
"""Padding may also be left as a value that nobody can take for tissue."""


def hounsfield(points: np.ndarray) -> np.ndarray:
    """HU at LPS points [..., 3]: a body with a gradient, a denser ball, and air around."""
    offset = np.asarray(points, dtype=np.float64) - CENTRE
    body = 40 + offset @ GRADIENT
    body = np.where(np.linalg.norm(points - BALL, axis=-1) < 4, 300 + offset @ GRADIENT, body)
    air = -1000 + offset @ (0.3 * GRADIENT)
    return np.where((offset**2 / RADII**2).sum(axis=-1) < 1, body, air)


@dataclass(frozen=True)
class Truth:
    """What a right volume holds: values at points, and nothing but padding at others.

    Attributes:
        points: LPS in mm, shape [n, 3].
        values: Shape [n]; NaN where the file declares that nothing was measured.
        tolerance: Largest difference that rounding or interpolation explains.
        value_of: Other values than ``hounsfield`` (several volumes in one series).
    """

    points: np.ndarray
    values: np.ndarray
    tolerance: float = 1.0
    empty: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))


def agrees(array: np.ndarray, lps_from_index: np.ndarray, truth: Truth) -> str:
    """Compares a volume with the truth at points in the patient; the empty string when it is right, else why not.

    Args:
        array: Three axes in any order.
        lps_from_index: Maps its indices to LPS; any axis order, any handedness.
        truth: What is known.
    """
    if array.ndim != 3:
        return f"{array.ndim} axes"
    index = (np.c_[truth.points, np.ones(len(truth.points))] @ np.linalg.inv(lps_from_index).T)[:, :3]
    if (index < -0.05).any() or (index > np.array(array.shape) - 0.95).any():
        return "does not cover the scanned points"
    found = _sample(array, index)
    wanted_nan = np.isnan(truth.values)
    if wanted_nan.any() and (found[wanted_nan] > FAR_BELOW_AIR).any():
        return "padding became values"
    wrong = ~(np.abs(found - truth.values) <= truth.tolerance) & ~wanted_nan
    if wrong.mean() > 0:
        n = int(np.flatnonzero(wrong)[0])
        return f"{wrong.mean():.0%} of points differ, as {found[n]:.1f} for {truth.values[n]:.1f}"
    if len(truth.empty):
        index = (np.c_[truth.empty, np.ones(len(truth.empty))] @ np.linalg.inv(lps_from_index).T)[:, :3]
        inside = (index > -0.5).all(1) & (index < np.array(array.shape) - 0.5).all(1)
        if np.isfinite(_sample(array, np.rint(index[inside]))).any():
            return "values where nothing was measured"
    return ""


def _sample(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Linear interpolation; exact, NaN and all, at whole indices."""
    near = np.rint(index)
    whole = np.abs(index - near).max(axis=1) < 2e-2
    found = np.empty(len(index))
    at = np.clip(near[whole], 0, np.array(array.shape) - 1).astype(int)
    found[whole] = array[tuple(at.T)]
    if not whole.all():
        found[~whole] = map_coordinates(np.asarray(array, np.float64), index[~whole].T, order=1, mode="nearest")
    return found


def inside_one_tissue(points: np.ndarray, margin_mm: float) -> np.ndarray:
    """Points that lie at least about ``margin_mm`` from any edge of the phantom, where values are linear."""
    offsets = np.vstack([np.eye(3), -np.eye(3), np.array(np.meshgrid(*[[-0.6, 0.6]] * 3)).reshape(3, -1).T]) * margin_mm
    here = hounsfield(points)
    around = np.stack([hounsfield(points + offset) for offset in offsets])
    return np.abs(around - here).max(axis=0) < 15 * margin_mm
