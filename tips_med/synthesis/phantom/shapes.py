"""Lungs of a real person as shapes alone: outline, fissures, airways and vessels, without any values of a scan.

The five that this was written for are those of Med-MPD (derived from LIDC-IDRI, CC BY 3.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from tips_med.errors import ReadError
from tips_med.geometry import LEFT, RIGHT, transform_points, voxel_volume_mm3
from tips_med.readers import read_scan
from tips_med.shapes import Affine

STEP_MM = 2.0
"""Spacing of the grid that outlines are brought to, along all axes."""

OUTLINE, FISSURES = "pleuralBoundary.nii.gz", "fissures.nii.gz"
AIRWAYS, VESSELS = "bronchialTree.nii.gz", "vessels.nii.gz"
"""Masks of a shape."""


@dataclass(frozen=True, eq=False)
class Layers:
    """A structure as voxels of the mask it was drawn in: what is within, at its rim, and just beyond.

    Attributes:
        within_mm: Places of the voxels below its surface in mm, float32 [point 3] (z up, y to the back, x to the left).
        rim_mm: Places of its outermost voxels, [point 3].
        beyond_mm: Places of the voxels next to it, [point 3].
        beyond_that_mm: Places of those next to these, [point 3].
        voxel_mm3: Volume of a voxel.
    """

    within_mm: np.ndarray
    rim_mm: np.ndarray
    beyond_mm: np.ndarray
    beyond_that_mm: np.ndarray
    voxel_mm3: float

    @property
    def thickness_mm(self) -> float:
        """About how thick each layer is."""
        return self.voxel_mm3 ** (1 / 3)

    @property
    def all_mm(self) -> np.ndarray:
        """Places of all of its voxels, [point 3]."""
        return np.concatenate([self.within_mm, self.rim_mm])


@dataclass(frozen=True, eq=False)
class LungShape:
    """The lungs of one person, along the patient's axes: z to the head, y to the back, x to the left.

    Attributes:
        case: Name of its folder.
        filled: Share of each cell that is lung, uint8 (255 for all of it) [slab y x], every ``STEP_MM``.
        sides: 1 right, 2 left, 0 elsewhere, uint8 [slab y x].
        fissures_mm: Places of the voxels of fissures, float32 [point 3] (z, y, x): in mm from the first cell.
        fissure_mm3: Volume of a voxel of the fissures.
        airways: The lumen of trachea and bronchi.
        vessels: The vessels within the lungs.
    """

    case: str
    filled: np.ndarray
    sides: np.ndarray
    fissures_mm: np.ndarray
    fissure_mm3: float
    airways: Layers
    vessels: Layers


def read_lung_shape(folder: Path) -> LungShape:
    """Reads the lungs of one person.

    Args:
        folder: Holds the masks ``pleuralBoundary.nii.gz`` (the filled lungs), ``fissures.nii.gz``,
            ``bronchialTree.nii.gz`` (the lumen) and ``vessels.nii.gz``, each on a grid of its own.

    Raises:
        ReadError: A mask is missing or cannot be read, or both lungs hang together (``lungs-together``).
    """
    outline, lps_from_kji = _mask(folder / OUTLINE)
    if not outline.any():
        raise ReadError("holds no lung", path=folder / OUTLINE, expected="a mask of both lungs", code="no-lung")
    corners = np.array([np.flatnonzero(outline.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))])
    ends = transform_points(lps_from_kji, np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 3))
    low, high = ends.min(axis=0) - STEP_MM, ends.max(axis=0) + STEP_MM
    lps_from_cell = np.eye(4)
    lps_from_cell[:3, :3] = np.diag([STEP_MM] * 3)[::-1]
    lps_from_cell[:3, 3] = low
    shape = tuple(int(n) for n in np.ceil((high - low)[::-1] / STEP_MM) + 1)
    filled = _averaged(outline, np.linalg.inv(lps_from_kji) @ lps_from_cell, shape)
    del outline
    to_mm = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0]) @ np.linalg.inv(lps_from_cell)
    sheet, lps_from_sheet = _mask(folder / FISSURES)
    fissures_mm = transform_points(to_mm @ lps_from_sheet, np.argwhere(sheet)).astype(np.float32)
    del sheet
    cells = np.clip(np.rint(fissures_mm / STEP_MM).astype(int), 0, np.array(shape) - 1)
    drawn = np.zeros(shape, bool)
    drawn[tuple(cells.T)] = True
    sides = split_lungs(filled >= 128, drawn)
    return LungShape(
        folder.name,
        filled,
        sides,
        fissures_mm,
        voxel_volume_mm3(lps_from_sheet),
        _layers(folder / AIRWAYS, to_mm),
        _layers(folder / VESSELS, to_mm),
    )


def split_lungs(both: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """1 right, 2 left, uint8 [slab y x]: both grow from their cores and meet where a sheet between them was drawn.

    Where they touch, in front of and behind the mediastinum, they are thin from front to back: the cores are what
    remains when they are eroded in that direction.

    Args:
        both: Mask of the lungs, every 2 mm; x rises to the left.
        sheet: Mask of fissures, and of the sheet where the lungs touch.

    Raises:
        ReadError: ``lungs-together`` when no erosion parts them.
    """
    for cells in range(9, 40, 4):
        core = ndimage.binary_erosion(both & ~sheet, np.ones((1, cells, 3), bool))
        labels, _ = ndimage.label(ndimage.binary_dilation(core, np.ones((3, 7, 3), bool)) & both)  # pyright: ignore
        # Fissures part the cores, too: pieces of one lung lie on one side of the middle.
        middle = np.argwhere(both)[:, 2].mean()
        centres = ndimage.center_of_mass(labels > 0, labels, np.arange(1, labels.max() + 1))
        spans = [np.ptp(np.flatnonzero((labels == one).any(axis=(0, 1)))) for one in range(1, labels.max() + 1)]
        if spans and max(spans) < 0.55 * np.ptp(np.flatnonzero(both.any(axis=(0, 1)))):
            break
    else:
        raise ReadError("the two lungs of an outline hang together", expected="two lungs", code="lungs-together")
    sides = np.zeros(both.shape, np.int32)
    for one, centre in enumerate(centres, start=1):  # x rises to the left
        sides[labels == one] = RIGHT if centre[2] < middle else LEFT
    return watershed(sheet.astype(np.uint8), sides, mask=both).astype(np.uint8)


def _mask(path: Path) -> tuple[np.ndarray, Affine]:
    """A mask as it is stored, bool [k j i], and its affine to LPS."""
    scan = read_scan(path)
    return scan.voxels > 0.5, scan.lps_from_kji


def _averaged(mask: np.ndarray, kji_from_cell: Affine, shape: tuple[int, ...]) -> np.ndarray:
    """The share of each cell of another grid that a mask fills, uint8, 255 for all: averaged, then interpolated."""
    size = np.maximum(np.rint(np.abs(kji_from_cell[:3, :3]).max(axis=1)).astype(int), 1)
    padded = np.pad(mask.astype(np.uint8), [(0, -n % s) for n, s in zip(mask.shape, size)])
    n = np.array(padded.shape) // size
    blocks = padded.reshape(n[0], size[0], n[1], size[1], n[2], size[2])
    mean = blocks.sum(axis=(1, 3, 5), dtype=np.uint16) * np.float32(255 / size.prod())
    # The middle of block b lies at voxel b * size + (size - 1) / 2.
    block_from_cell = np.diag([*(1 / size), 1.0]) @ kji_from_cell
    block_from_cell[:3, 3] -= (size - 1) / (2 * size)
    linear, offset = block_from_cell[:3, :3], block_from_cell[:3, 3]
    shares = ndimage.affine_transform(mean, linear, offset, shape, order=1)  # pyright: ignore[reportArgumentType]
    return np.rint(shares).astype(np.uint8)


def _layers(path: Path, to_mm: Affine) -> Layers:
    mask, lps_from_kji = _mask(path)
    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(found[0]):
        raise ReadError("is empty", path=path, expected="a mask of the tree", code="no-lung")
    first = np.array([axis[0] for axis in found])
    mask = np.pad(mask[tuple(slice(axis[0], axis[-1] + 1) for axis in found)], 2)
    cross = ndimage.generate_binary_structure(3, 1)
    inner = np.asarray(ndimage.binary_erosion(mask, cross), bool)
    beyond = np.asarray(ndimage.binary_dilation(mask, cross), bool)
    far = np.asarray(ndimage.binary_dilation(beyond, cross), bool)
    mm_from_kji = to_mm @ lps_from_kji

    def places(of: np.ndarray) -> np.ndarray:
        return transform_points(mm_from_kji, np.argwhere(of) - 2 + first).astype(np.float32)

    return Layers(
        places(inner),
        places(mask & ~inner),
        places(beyond & ~mask),
        places(far & ~beyond),
        voxel_volume_mm3(lps_from_kji),
    )
