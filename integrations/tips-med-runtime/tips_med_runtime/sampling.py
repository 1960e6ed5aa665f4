# Copied from tips_med/resampling.py by copies.py: change it there.
"""Volumes from one grid to another, and planes that nobody measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tips_med_runtime.geometry import axis_directions, spacing_mm
from tips_med_runtime.shapes import Affine

MAX_DRIFT = 0.05
"""Voxels by which an axis of one grid may deviate from one of another that it is taken to run along."""

MIN_SIGMA = 0.3
"""Standard deviation in voxels up to which smoothing changes nothing that is visible."""

MIN_SMOOTHED = 4
"""Voxels along an axis below which it is not smoothed."""


@dataclass(frozen=True)
class _Axis:
    """One axis of the new grid, which runs along one of the old grid.

    Attributes:
        source: Axis of the old grid.
        index: Positions of the new grid's samples along it, in voxels of the old grid.
    """

    source: int
    index: np.ndarray


def _aligned_axes(lps_from_kji: Affine, lps_from_out: Affine, shape: tuple[int, int, int]) -> list[_Axis] | None:
    """The axes of the new grid where each runs along one of the old grid, whatever their order and direction.

    An axis may deviate by ``MAX_DRIFT`` voxels over the new grid, as it does where a header rounds its directions.
    None for an oblique grid.
    """
    kji_from_out = np.linalg.inv(lps_from_kji) @ lps_from_out
    source = np.abs(kji_from_out[:3, :3]).argmax(axis=0)
    if len(set(source.tolist())) < 3:
        return None
    middle = (np.asarray(shape) - 1) / 2
    own = kji_from_out[source, [0, 1, 2]]
    drift = np.abs(kji_from_out[:3, :3]) @ middle
    drift[source] -= np.abs(own) * middle
    if drift.max() > MAX_DRIFT:
        return None
    centre = (kji_from_out @ [*middle, 1.0])[source]
    return [
        _Axis(int(axis), at + step * (np.arange(n) - (n - 1) / 2))
        for axis, at, step, n in zip(source, centre, own, shape)
    ]


def _resample_along_axes(voxels: np.ndarray, axes: list[_Axis], sigmas: np.ndarray) -> np.ndarray:
    """Smooths and samples axis by axis, plane by plane: a thin series never exists smoothed at its full size.

    Args:
        voxels: Values with NaN where nothing was measured, [k j i].
        axes: Axes of the new grid.
        sigmas: Standard deviation of the smoothing along each old axis, in voxels.
    """
    by_source = sorted(axes, key=lambda axis: axis.source)
    weights = [
        _weights(axis.index, n, float(sigma)) for axis, n, sigma in zip(by_source, voxels.shape, sigmas, strict=True)
    ]
    along_k, along_j, along_i = weights
    planes = np.empty((len(voxels), len(by_source[1].index), len(by_source[2].index)), np.float32)
    empty = np.zeros(len(voxels), bool)
    holes: dict[int, np.ndarray] = {}
    floor: np.float32 | None = None
    for k, plane in enumerate(voxels):
        plane = np.asarray(plane, np.float32)
        # A smoothed or interpolated NaN spreads: fill with the scan's floor, and leave the holes out at the end.
        # Slices that are missing are filled from their neighbours, for a floor would darken what lies beside a gap.
        if np.isnan(plane.sum()):
            unmeasured = np.isnan(plane)
            holes[k], empty[k] = unmeasured, bool(unmeasured.all())
            if empty[k]:
                planes[k] = 0
                continue
            floor = np.float32(np.nanmin(voxels)) if floor is None else floor
            plane = np.where(unmeasured, floor, plane)
        planes[k] = (along_i @ (along_j @ plane).T).T
    if empty.any():
        if floor is None and not empty.all():
            floor = np.float32(np.nanmin(voxels))
        planes[empty] = 0 if floor is None else floor
        blend_planes(planes, empty)
    out = (along_k @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
    nearest = [np.clip(np.floor(axis.index + 0.5), 0, n - 1).astype(int) for axis, n in zip(by_source, voxels.shape)]
    for new, old in enumerate(nearest[0]):
        if old in holes:
            out[new][holes[old][np.ix_(nearest[1], nearest[2])]] = np.nan
    for place, (axis, n) in enumerate(zip(by_source, voxels.shape)):
        outside = (axis.index < -0.5) | (axis.index > n - 0.5)
        out[(*[slice(None)] * place, outside)] = np.nan
    return np.ascontiguousarray(out.transpose([axis.source for axis in axes]))


def _weights(index: np.ndarray, n: int, sigma: float) -> sparse.csr_array:
    """Weights of a line's values in each sample: linear interpolation of a line that a Gaussian smoothed.

    Args:
        index: Positions of the samples, in steps of the line.
        n: Number of values of the line; the first and the last stand for what lies beyond.
        sigma: Standard deviation of the Gaussian, in steps of the line; nothing is smoothed at 0.3 or less.

    Returns:
        Weights, float32 [sample value]; each row sums to one.
    """
    sigma = sigma if sigma > MIN_SIGMA and n >= MIN_SMOOTHED else 0.0
    reach = int(np.ceil(4 * sigma))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2) if sigma else np.ones(1)
    kernel /= kernel.sum()
    low = np.floor(np.clip(index, 0, n - 1)).astype(int)
    share = np.clip(index, 0, n - 1) - low
    dense = np.zeros((len(index), n))
    rows = np.arange(len(index))[:, None]
    for more, weight in ((0, 1 - share), (1, share)):
        np.add.at(dense, (rows, np.clip((low + more)[:, None] + steps, 0, n - 1)), np.outer(weight, kernel))
    return sparse.csr_array(dense.astype(np.float32))


def smoothing_mm(lps_from_kji: Affine, lps_from_out: Affine) -> np.ndarray:
    """Smoothing of each axis before a coarser grid samples it: standard deviations of Gaussians in mm.

    The smoothing depends on the distance of the new grid's samples along that axis in the patient, whatever the order
    and the direction of either grid's axes.
    """
    step, out = spacing_mm(lps_from_kji), spacing_mm(lps_from_out)
    cosines = np.linalg.inv(axis_directions(lps_from_out)) @ axis_directions(lps_from_kji)  # [out axis, own axis]
    apart = 1 / np.sqrt(((cosines / out[:, None]) ** 2).sum(axis=0))
    return step * np.sqrt(np.maximum(0.0, (apart / step) ** 2 - 1)) / 2.355


def blend_planes(volume: np.ndarray, empty: np.ndarray, longest: int | None = None) -> None:
    """Fills empty planes between two others by linear interpolation, in place.

    Args:
        volume: Values, [k j i].
        empty: Planes to fill, bool [k].
        longest: Maximum distance in planes between two planes that are not empty; longer gaps stay as they are. No
            maximum when None.
    """
    measured = np.flatnonzero(~empty)
    for plane in np.flatnonzero(empty):
        below, above = measured[measured < plane], measured[measured > plane]
        if not len(below) or not len(above) or (longest is not None and above[0] - below[-1] > longest):
            continue
        share = np.float32((plane - below[-1]) / (above[0] - below[-1]))
        volume[plane] = (1 - share) * volume[below[-1]] + share * volume[above[0]]
