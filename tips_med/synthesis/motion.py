"""The same patient on another day: turned, shifted, bent and breathing otherwise, by a transform that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from tips_med.geometry import grid_corners, spacing_mm
from tips_med.resampling import sitk_image
from tips_med.scan import Scan
from tips_med.shapes import Affine

FIELD_MM = 6.0
"""Distance between the samples of a motion."""


@dataclass(frozen=True)
class Motion:
    """How strongly a patient moves between two scans.

    Attributes:
        turn_degrees: Maximum turn about each axis, in degrees.
        shift_mm: Maximum shift along each axis, in mm.
        bend_mm: Standard deviation of the displacement of the B-spline's control points along each axis, in mm.
        control_mm: Distance between the control points, in mm.
        breath_mm: Maximum displacement of the lowest part of the scan along the body, up or down, in mm; it falls off
            to zero at the top.
    """

    turn_degrees: float = 4.0
    shift_mm: float = 15.0
    bend_mm: float = 4.0
    control_mm: float = 60.0
    breath_mm: float = 15.0


def sample_motion(scan: Scan, motion: Motion, rng: np.random.Generator) -> sitk.Transform:
    """A transform from the moved patient to the patient as scanned, LPS to LPS in mm.

    It is the direction in which images are pulled: ``move`` shows at each place x what ``scan`` shows at T(x).

    Args:
        scan: Scan of the patient.
        motion: Strength of the motion.
        rng: Random generator, the only source of randomness.
    """
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    turn, shift = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3)
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(((low + high) / 2).tolist())
    rigid.SetRotation(*(np.deg2rad(motion.turn_degrees) * turn).tolist())
    rigid.SetTranslation((motion.shift_mm * shift).tolist())
    margin = motion.shift_mm + 20.0  # the B-spline ends in a step, which is to lie outside what is seen
    extent = high - low + 2 * margin
    mesh = np.maximum(1, np.round(extent / motion.control_mm)).astype(int)
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainOrigin((low - margin).tolist())
    spline.SetTransformDomainPhysicalDimensions(extent.tolist())
    spline.SetTransformDomainMeshSize(mesh.tolist())
    x, y, z = (int(n) + 3 for n in mesh)
    bend = rng.normal(0, motion.bend_mm, (3, z, y, x))
    bend[2] += motion.breath_mm * rng.uniform(-1, 1) * np.linspace(1, 0, z)[:, None, None]
    spline.SetParameters(bend.ravel().tolist())
    # As a field it is the same to a hundredth of a millimetre, and a hundred times as quick to pull volumes through.
    exact = sitk.CompositeTransform([rigid, spline])
    size = [int(n) for n in np.ceil((extent - 2.0) / FIELD_MM)]
    origin = (low - margin + 1.0).tolist()
    field = sitk.TransformToDisplacementField(exact, sitk.sitkVectorFloat64, size, origin, [FIELD_MM] * 3)
    return sitk.DisplacementFieldTransform(field)


def move(
    voxels: np.ndarray,
    lps_from_kji: Affine,
    motion: sitk.Transform,
    lps_from_out: Affine,
    shape: tuple[int, int, int],
    *,
    linear: bool = True,
) -> np.ndarray:
    """A volume or a label map of a patient who moved, as a scanner with another grid records it.

    Args:
        voxels: Values with NaN where nothing was measured, or labels; [k j i].
        lps_from_kji: Maps (k, j, i, 1) of ``voxels`` to LPS in mm.
        motion: Transform of ``sample_motion``.
        lps_from_out: The same for the new grid; oblique and mirrored ones will do.
        shape: Shape of the new grid.
        linear: Use linear interpolation, thick slices being averages of what lies in them; nearest neighbour otherwise.

    Returns:
        float32 with NaN beyond the scan when ``linear``; else of the dtype of ``voxels``, with 0.
    """
    if not linear:
        like = sitk_image(np.zeros(shape, np.uint8), lps_from_out)
        moved = sitk.Resample(sitk_image(voxels, lps_from_kji), like, motion, sitk.sitkNearestNeighbor, 0.0)
        return sitk.GetArrayFromImage(moved).astype(voxels.dtype)
    # First on a grid of the new orientation that is as fine as the scan, then averaged down to it.
    finest = float(min(spacing_mm(lps_from_kji)))
    factor = np.maximum(1, np.round(spacing_mm(lps_from_out) / max(finest, 1.0))).astype(int)
    fine = lps_from_out.copy()
    fine[:3, :3] = lps_from_out[:3, :3] / factor
    fine[:3, 3] -= fine[:3, :3] @ ((factor - 1) / 2)
    size = tuple(int(n) for n in np.array(shape) * factor)
    like = sitk_image(np.zeros((1, 1, 1), np.uint8), fine)
    image = sitk_image(voxels, lps_from_kji)
    moved = sitk.Resample(
        image, size[::-1], motion, sitk.sitkLinear, like.GetOrigin(), like.GetSpacing(), like.GetDirection(),
        float("nan"), sitk.sitkFloat32,
    )  # fmt: skip
    array = sitk.GetArrayFromImage(moved)
    k, j, i = shape
    a, b, c = (int(n) for n in factor)
    return np.ascontiguousarray(array.reshape(k, a, j, b, i, c).mean(axis=(1, 3, 5)))
