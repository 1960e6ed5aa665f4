"""True lobes of five lungs, from their outlines and their fissures (Med-MPD, derived from LIDC-IDRI, CC BY 3.0).

A fissure is a sheet with gaps: it is closed by a smooth surface (a thin plate spline), and which side of the surface a
voxel lies on names its lobe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from tips_med.geometry import LEFT, RIGHT, transform_points
from tips_med.synthesis.phantom.shapes import split_lungs

STEP_MM = 2.0
"""Spacing of the grid that the lungs are brought to, along all axes."""

LOBES = {
    (RIGHT, "upper"): 1,
    (RIGHT, "middle"): 2,
    (RIGHT, "lower"): 3,
    (LEFT, "upper"): 4,
    (LEFT, "lower"): 5,
}
"""Labels of the true lobes, by side and name."""

SAME_SHEET_MM = 6.0
"""Fissure points that lie nearer to the oblique surface than this belong to it, and not to the horizontal fissure."""

STRAY_MM = 12.0
"""Fissure points farther than this from their surface are none of it."""

PLATE_POINTS = 400
"""Number of fissure points that a thin plate is drawn through."""

PLATE_SMOOTHING = 5.0


@dataclass(frozen=True, eq=False)
class FissuredLung:
    """One person's lungs, on a grid along the patient's axes: slabs to the head, y to the back, x to the left.

    Attributes:
        case: Name of the folder.
        lungs: 1 right, 2 left, uint8 [slab y x].
        lobes: Labels of ``LOBES``, uint8 [slab y x].
        sheets: Fissure points in mm of this grid, float64 [point 3] (slab, y, x), by side and name of the fissure.
        off_mm: Median and 95th percentile of how far fissure points lie from the surface that closes them.
        closed: Share of each surface within the lung that has no fissure within 4 mm: gaps, which were closed.
    """

    case: str
    lungs: np.ndarray
    lobes: np.ndarray
    sheets: dict[tuple[int, str], np.ndarray]
    off_mm: dict[tuple[int, str], tuple[float, float]]
    closed: dict[tuple[int, str], float]


def read_fissured_lung(folder: Path) -> FissuredLung:
    """Reads the lungs of one person and closes their fissures.

    Args:
        folder: Holds ``pleuralBoundary.nii.gz`` (the filled lungs) and ``fissures.nii.gz``.
    """
    outline, lps_from_index = _mask_of(folder / "pleuralBoundary.nii.gz")
    sheet, lps_from_sheet = _mask_of(folder / "fissures.nii.gz")
    corners = transform_points(lps_from_index, np.array([np.zeros(3), np.array(outline.shape) - 1]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    # Its own grid: (slab, y, x), each rising to the head, to the back and to the left.
    shape = np.ceil((high - low)[::-1] / STEP_MM).astype(int) + 1
    lps_from_cell = np.eye(4)
    lps_from_cell[:3, :3] = np.diag([STEP_MM] * 3)[::-1]
    lps_from_cell[:3, 3] = low
    index_from_cell = np.linalg.inv(lps_from_index) @ lps_from_cell
    both = ndimage.affine_transform(
        outline.astype(np.uint8), index_from_cell[:3, :3], index_from_cell[:3, 3], tuple(shape), order=0
    ).astype(bool)
    points_mm = STEP_MM * transform_points(np.linalg.inv(lps_from_cell) @ lps_from_sheet, np.argwhere(sheet)[::4])
    cells = np.clip(np.rint(points_mm / STEP_MM).astype(int), 0, shape - 1)
    drawn = np.zeros(both.shape, bool)
    drawn[tuple(cells.T)] = True
    lungs = split_lungs(both, drawn)
    owner = lungs[tuple(cells.T)]
    lobes = np.zeros(lungs.shape, np.uint8)
    sheets, off, closed = {}, {}, {}
    for side in (RIGHT, LEFT):
        own = _without_mediastinal(points_mm[owner == side], lungs == side)
        oblique, horizontal = _two_sheets(own) if side == RIGHT else (own, own[:0])
        oblique, surface = _closing(oblique, steep=True)
        places = np.argwhere(lungs == side)
        below = surface.beyond(places * STEP_MM) < 0
        found = np.where(below, LOBES[side, "lower"], LOBES[side, "upper"])
        sheets[side, "oblique"], off[side, "oblique"] = oblique, _off(surface, oblique)
        closed[side, "oblique"] = _closed(surface, oblique, places * STEP_MM, np.ones(len(places), bool))
        if side == RIGHT:
            horizontal, flat = _closing(horizontal, steep=False)
            middle = ~below & (flat.beyond(places * STEP_MM) < 0)
            found[middle] = LOBES[side, "middle"]
            sheets[side, "horizontal"], off[side, "horizontal"] = horizontal, _off(flat, horizontal)
            closed[side, "horizontal"] = _closed(flat, horizontal, places * STEP_MM, ~below)
        lobes[tuple(places.T)] = found
    return FissuredLung(folder.name, lungs, lobes, sheets, off, closed)


def _mask_of(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A mask as it is stored, and its affine to LPS; nibabel's is to RAS."""
    image = nib.load(file)  # pyright: ignore[reportPrivateImportUsage]
    lps_from_index = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # pyright: ignore[reportAttributeAccessIssue]
    return np.asanyarray(image.dataobj) > 0, lps_from_index  # pyright: ignore[reportAttributeAccessIssue]


def _without_mediastinal(points_mm: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Fissure points of a lung without those where both lungs touch: they lie at its rim, in a piece of their own."""
    shape = lung.shape
    cells = np.clip(np.rint(points_mm / STEP_MM).astype(int), 0, np.array(shape) - 1)
    drawn = np.zeros(shape, bool)
    drawn[tuple(cells.T)] = True
    labels, _ = ndimage.label(ndimage.binary_dilation(drawn, iterations=2))  # pyright: ignore[reportGeneralTypeIssues]
    own = labels[tuple(cells.T)]
    sizes = np.bincount(own)
    return points_mm[np.isin(own, np.flatnonzero(sizes > 0.03 * len(points_mm)))]


def _two_sheets(points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The oblique and the horizontal fissure of a right lung.

    In a column that holds two sheets, the lower one is the oblique fissure. Surfaces of second order through these, and
    through the back, where there is only one, sort the rest.
    """
    column = np.rint(points_mm[:, 1:] / STEP_MM).astype(int) // 2
    _, group = np.unique(column, axis=0, return_inverse=True)
    low, high = (np.full(group.max() + 1, sign * np.inf) for sign in (1, -1))
    np.minimum.at(low, group, points_mm[:, 0])
    np.maximum.at(high, group, points_mm[:, 0])
    # A steep sheet spans some height in a column itself, so two sheets have an empty height between them.
    apart = np.zeros(len(low), bool)
    split = np.zeros(len(low))
    order = np.lexsort((points_mm[:, 0], group))
    jumps = np.diff(points_mm[order, 0])
    same = group[order][1:] == group[order][:-1]
    for n in np.flatnonzero(same & (jumps > 12)):
        apart[group[order][n]], split[group[order][n]] = True, points_mm[order, 0][n] + jumps[n] / 2
    double = apart[group]
    back = points_mm[:, 1] > np.percentile(points_mm[:, 1], 75)
    oblique = (double & (points_mm[:, 0] < split[group])) | (back & ~double)
    horizontal = double & ~oblique
    for _ in range(8):
        first, second = (_quadric(points_mm[one]) for one in (oblique, horizontal))
        to_first, to_second = (np.abs(points_mm[:, 0] - _terms(points_mm) @ one) for one in (first, second))
        # The horizontal fissure begins at the oblique one and lies above it.
        above = points_mm[:, 0] > _terms(points_mm) @ first
        horizontal = (to_second < to_first) & above & ~(back & ~double)
        oblique = ~horizontal
    surface = _Surface(points_mm[oblique], steep=True)
    horizontal &= surface.beyond(points_mm) > SAME_SHEET_MM
    return points_mm[oblique], points_mm[horizontal]


def _terms(points_mm: np.ndarray) -> np.ndarray:
    y, x = (points_mm[:, 1:] / 100).T
    return np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=1)


def _quadric(points_mm: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(_terms(points_mm), points_mm[:, 0], rcond=None)[0]


class _Surface:
    """A thin plate through fissure points, over the plane that fits them best."""

    def __init__(self, points_mm: np.ndarray, *, steep: bool) -> None:
        design = np.stack([np.ones(len(points_mm)), points_mm[:, 1]], axis=1)
        slope = float(np.linalg.lstsq(design, points_mm[:, 0], rcond=None)[0][1]) if steep else 0.0
        angle = np.arctan(slope)
        # Turned about the patient's left-right axis, so that the fissure is about flat: height, along, across.
        self._turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        flat = points_mm @ self._turn.T
        self._low = flat[:, 1:].min(axis=0) - 80
        self._cell = 5.0
        size = np.ceil((flat[:, 1:].max(axis=0) + 80 - self._low) / self._cell).astype(int)
        rng = np.random.default_rng(0)
        some = flat[rng.choice(len(flat), min(PLATE_POINTS, len(flat)), replace=False)]
        plate = RBFInterpolator(some[:, 1:] / 100, some[:, 0], kernel="thin_plate_spline", smoothing=PLATE_SMOOTHING)
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1).reshape(-1, 2)
        self._height = plate((grid * self._cell + self._low) / 100).reshape(tuple(size))

    def beyond(self, points_mm: np.ndarray) -> np.ndarray:
        """How far above the surface points lie, in mm across the plane; negative below it."""
        flat = points_mm @ self._turn.T
        at = (flat[:, 1:] - self._low) / self._cell
        return flat[:, 0] - ndimage.map_coordinates(self._height, at.T, order=1, mode="nearest")


def _closing(points_mm: np.ndarray, *, steep: bool) -> tuple[np.ndarray, _Surface]:
    """A surface through fissure points, without strays: what is left of the sheet between both lungs."""
    for _ in range(1):
        points_mm = points_mm[np.abs(_Surface(points_mm, steep=steep).beyond(points_mm)) < STRAY_MM]
    return points_mm, _Surface(points_mm, steep=steep)


def _off(surface: _Surface, points_mm: np.ndarray) -> tuple[float, float]:
    off = np.abs(surface.beyond(points_mm))
    return float(np.median(off)), float(np.percentile(off, 95))


def _closed(surface: _Surface, points_mm: np.ndarray, places_mm: np.ndarray, where: np.ndarray) -> float:
    """The share of a surface within the lung that has no fissure within 4 mm."""
    on = places_mm[where & (np.abs(surface.beyond(places_mm)) < STEP_MM / 2)]
    distance, _ = cKDTree(points_mm).query(on)
    return float((distance > 4).mean())
