"""Volumes from one grid to another, and planes that nobody measured."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from tips_med.geometry import axis_directions, spacing_mm
from tips_med.shapes import Affine, Voxels


def resample(
    voxels: np.ndarray, lps_from_kji: Affine, lps_from_out: Affine, shape: tuple[int, int, int], *, linear: bool = True
) -> np.ndarray:
    """Samples a volume on another grid; NaN (or 0, for labels) where that grid leaves it.

    Args:
        voxels: Values with NaN where nothing was measured, or labels; [k j i].
        lps_from_kji: Maps (k, j, i, 1) of ``voxels`` to LPS in mm.
        lps_from_out: The same for the new grid. Both may be oblique or mirrored, but not sheared.
        shape: Shape of the new grid.
        linear: Use linear interpolation, after smoothing when the new grid is coarser, so that thin slices are averaged
            and not skipped; nearest neighbour otherwise.

    Returns:
        The samples: float32 when ``linear``, else of the dtype of ``voxels``.
    """
    image = sitk_image(voxels, lps_from_kji)
    like = sitk_image(np.empty((1, 1, 1), np.uint8), lps_from_out)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape[::-1]])
    resampler.SetOutputOrigin(like.GetOrigin())
    resampler.SetOutputSpacing(like.GetSpacing())
    resampler.SetOutputDirection(like.GetDirection())
    if not linear:
        resampler.SetInterpolator(sitk.sitkNearestNeighbor)
        return sitk.GetArrayFromImage(resampler.Execute(image))
    unmeasured = np.isnan(voxels)
    if unmeasured.any():
        # A smoothed or interpolated NaN spreads: fill with the scan's floor, and carry the mask along beside it.
        # Slices that are missing are filled from their neighbours, for a floor would darken what lies beside a gap.
        filled = np.where(unmeasured, np.float32(np.nanmin(voxels) if not unmeasured.all() else 0), voxels)
        blend_planes(filled, np.asarray(unmeasured.all(axis=(1, 2))))
        image = sitk_image(filled, lps_from_kji)
    for axis, (sigma, step) in enumerate(zip(_smoothing_mm(lps_from_kji, lps_from_out), spacing_mm(lps_from_kji))):
        if sigma > 0.3 * step and voxels.shape[axis] >= 4:
            image = sitk.RecursiveGaussian(
                image, float(sigma), False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 2 - axis
            )
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.SetDefaultPixelValue(float("nan"))
    out = sitk.GetArrayFromImage(resampler.Execute(image))
    if unmeasured.any():
        resampler.SetInterpolator(sitk.sitkNearestNeighbor)
        resampler.SetOutputPixelType(sitk.sitkUInt8)
        resampler.SetDefaultPixelValue(1)
        hole = sitk.GetArrayFromImage(resampler.Execute(sitk_image(unmeasured.astype(np.uint8), lps_from_kji)))
        out[hole > 0] = np.nan
    return out


def _smoothing_mm(lps_from_kji: Affine, lps_from_out: Affine) -> list[float]:
    """By how much to smooth a volume along each of its axes before a coarser grid samples it: sigmas in mm.

    The smoothing depends on the distance of the new grid's samples along that axis in the patient, whatever the order
    and the direction of either grid's axes.
    """
    step, out = spacing_mm(lps_from_kji), spacing_mm(lps_from_out)
    cosines = np.linalg.inv(axis_directions(lps_from_out)) @ axis_directions(lps_from_kji)  # [out axis, own axis]
    apart = 1 / np.sqrt(((cosines / out[:, None]) ** 2).sum(axis=0))
    return [float(s * max(0.0, (a / s) ** 2 - 1) ** 0.5 / 2.355) for s, a in zip(step, apart)]


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


def sitk_image(array: Voxels | np.ndarray, lps_from_kji: Affine) -> sitk.Image:
    """A SimpleITK image in the same place (ITK's physical space is LPS, its axes are i, j, k)."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(array)
    step = spacing_mm(lps_from_kji)
    image.SetSpacing([float(s) for s in step[::-1]])
    image.SetDirection((lps_from_kji[:3, :3] / step)[:, ::-1].ravel().tolist())
    image.SetOrigin(lps_from_kji[:3, 3].tolist())
    return image
