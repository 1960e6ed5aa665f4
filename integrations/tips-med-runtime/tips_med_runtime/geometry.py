# Copied from tips_med/geometry.py by copies.py: change it there.
"""Affines: composed, never undone.

Every affine is named ``<frame>_from_<frame>`` and is a 4 x 4 float64 matrix acting on columns, so that names meet in
the middle when they are multiplied: ``lps_from_patch = lps_from_kji @ kji_from_patch``. Array indices are in array
order (slice, row, column) and address voxel *centres*. LPS is DICOM's patient frame: x to the patient's left, y to
the back, z to the head, in millimetres (PS3.3 C.7.6.2.1.1); RAS is NIfTI's.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import generate_binary_structure

from tips_med_runtime.shapes import Affine, Points

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's frame from DICOM's; its own inverse."""

KJI_FROM_IJK = np.eye(4)[[2, 1, 0, 3]]
"""Array order (slice, row, column) from NIfTI's and ITK's order of indices; its own inverse."""

RIGHT, LEFT = 1, 2
"""Values of the patient's sides in label maps; 0 is neither."""

CONNECTIVITY_18 = generate_binary_structure(3, 2)
"""Voxels of one component share a face or an edge."""

_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))


def transform_points(affine: Affine, points: np.ndarray) -> Points:
    """Maps points of shape [n, 3] (or one point [3], which gives [1, 3])."""
    columns = np.atleast_2d(np.asarray(points, dtype=np.float64))
    return columns @ affine[:3, :3].T + affine[:3, 3]


def spacing_mm(affine: Affine) -> np.ndarray:
    """The distance in mm between neighbours along each array axis, shape [3], in the affine's axis order."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def voxel_volume_mm3(affine: Affine) -> float:
    """The volume of one cell, which for a sheared grid is not the product of its spacings."""
    return float(abs(np.linalg.det(affine[:3, :3])))


def axis_directions(affine: Affine) -> np.ndarray:
    """Unit vectors of the array axes in the target frame, one a column, shape [3, 3]."""
    return affine[:3, :3] / spacing_mm(affine)


def axis_letters(lps_from_index: Affine) -> str:
    """The direction that each array axis runs to, as letters of the nearest body axis.

    A plain axial scan read as [k, j, i] is ``"SPL"``: slices to the head (superior), rows to the back (posterior),
    columns to the patient's left. An oblique axis gets the letter it is nearest to, each body axis used once.
    """
    return "".join(_LETTERS[axis][0 if sign > 0 else 1] for axis, sign in nearest_body_axes(lps_from_index))


def nearest_body_axes(lps_from_index: Affine) -> list[tuple[int, int]]:
    """For every array axis, the body axis (0 x, 1 y, 2 z) it runs along most nearly, and the sign.

    The assignment is the permutation with the largest total alignment, so that two axes of a 45 degree oblique never
    claim the same body axis.
    """
    from itertools import permutations

    directions = axis_directions(lps_from_index)
    best = max(permutations(range(3)), key=lambda p: sum(abs(directions[p[a], a]) for a in range(3)))
    return [(best[a], 1 if directions[best[a], a] >= 0 else -1) for a in range(3)]


def is_right_handed(lps_from_index: Affine) -> bool:
    """True when (i, j, k) are right-handed, as in every DICOM series stacked along its slice normal.

    The affine's axes are in array order (k, j, i), which reverses the sense of the determinant.
    """
    return bool(np.linalg.det(lps_from_index[:3, :3]) < 0)


def index_from_block(factors: tuple[float | int, float | int, float | int]) -> Affine:
    """Indices on a fine grid from indices of blocks of ``factors`` cells each, centre to centre.

    Block 0 of two cells has its centre at index 0.5, not 0: the half-cell shift that is forgotten most often.
    """
    affine = np.eye(4)
    for axis, factor in enumerate(factors):
        affine[axis, axis] = factor
        affine[axis, 3] = (factor - 1) / 2
    return affine


def index_from_crop(start: tuple[float, float, float]) -> Affine:
    """Indices of the whole array from indices of a crop that begins at ``start``."""
    affine = np.eye(4)
    affine[:3, 3] = start
    return affine


def box_around(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds all true cells of a mask [k j i], as slices; None without any.

    Args:
        mask: Mask, bool or labels, [k j i].
        margin: Number of cells to add on each side, as far as the array goes.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return None
    plane = np.asarray(mask[planes[0] : planes[-1] + 1].any(axis=0))
    found = (planes, np.flatnonzero(np.any(plane, axis=1)), np.flatnonzero(np.any(plane, axis=0)))
    k, j, i = (slice(max(0, int(f[0]) - margin), min(n, int(f[-1]) + 1 + margin)) for f, n in zip(found, mask.shape))
    return k, j, i


def grid_corners(lps_from_index: Affine, shape: tuple[int, int, int]) -> Points:
    """The eight outer corners (cell edges, not centres) of a grid, shape [8, 3]."""
    edges = np.array([(-0.5, n - 0.5) for n in shape])
    corners = np.array(np.meshgrid(*edges, indexing="ij")).reshape(3, -1).T
    return transform_points(lps_from_index, corners)


def same_grid(a: Affine, b: Affine, shape: tuple[int, int, int], tolerance_mm: float = 0.01) -> bool:
    """True when two affines place every corner of a grid within ``tolerance_mm`` of each other."""
    difference = grid_corners(a, shape) - grid_corners(b, shape)
    return bool(np.linalg.norm(difference, axis=1).max() <= tolerance_mm)


def ras_affine_ijk(lps_from_kji: Affine) -> np.ndarray:
    """NIfTI's affine, RAS from (i, j, k), for an array transposed to [i j k]."""
    return RAS_FROM_LPS @ lps_from_kji @ KJI_FROM_IJK


def lps_affine_kji(ras_from_ijk: Affine) -> np.ndarray:
    """The inverse of ``ras_affine_ijk``: LPS from (k, j, i)."""
    return RAS_FROM_LPS @ ras_from_ijk @ KJI_FROM_IJK
