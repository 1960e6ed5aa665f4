"""A torso from a seed around the lungs of a real person: their outline, fissures, bronchi and vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.organs import swapped
from tips_med.synthesis.phantom.abdomen import build_abdomen
from tips_med.synthesis.phantom.around import (
    ADULT_X,
    ADULT_Y,
    ADULT_Z,
    Landmarks,
    adult_axis,
    cage_around,
    diaphragm_under,
    find_landmarks,
)
from tips_med.synthesis.phantom.build import Build, Point
from tips_med.synthesis.phantom.chest import HILA, build_heart
from tips_med.synthesis.phantom.parenchyma import LungLook, fill_lungs
from tips_med.synthesis.phantom.shapes import STEP_MM, LungShape
from tips_med.synthesis.phantom.trunk import EVERYWHERE, Habitus, build_skeleton, build_wall

MOST_ML = 7500.0
"""Lungs larger than this are made smaller."""


def make_lung_phantom(
    shape: LungShape,
    seed: int,
    spacing_mm: tuple[float, float, float] = (2.5, 2.0, 2.0),
    *,
    habitus: Habitus | None = None,
    mirrored: bool | None = None,
    below_mm: float = 110.0,
    above_mm: float = 14.0,
) -> Anatomy:
    """Builds a torso around the lungs of a shape.

    Size (0.85 to 1.15), mirroring, calibre of vessels, contrast, density and texture of the lungs and the trunk around
    them follow from the seed.

    Args:
        shape: Lungs of a real person.
        seed: Random seed (integer, 0 or more); the same seed gives the same body.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
        habitus: Habitus of the body; drawn when None.
        mirrored: Whether left and right are exchanged; drawn when None.
        below_mm: Extent below the top of the diaphragm in mm.
        above_mm: Extent above the apices of the lungs in mm.

    Returns:
        An anatomy with lungs and organs, without lesions; x grows to the patient's left, y to the back, z upwards. Of a
        mirrored one all organs lie on the other side, and are labelled by where they lie.
    """
    rng = np.random.default_rng(seed)
    habit = habitus or Habitus.draw(rng)
    look = LungLook.draw(rng, habit.blood_hu)
    drawn = rng.random() < 0.5  # in any case, so that all else follows from the seed
    exchanged = drawn if mirrored is None else mirrored
    marks = find_landmarks(shape)
    zoom = np.exp(rng.uniform(np.log(0.85), np.log(1.15))) * np.exp(rng.uniform(-0.04, 0.04, 3))
    ml = float(shape.filled.sum(dtype=np.int64)) / 255 * STEP_MM**3 / 1000 * float(zoom.prod())
    fit = Fit.of(marks, zoom * min(1.0, (MOST_ML / ml) ** (1 / 3)), habit, spacing_mm, below_mm, above_mm)
    build = Build(fit.adult(2), fit.adult(1), fit.adult(0), spacing_mm, rng)
    share, build.lungs = fit.lungs(shape)
    build.free_mm = _outside_mm(build.lungs, spacing_mm)
    cage = cage_around(build.lungs > 0, fit.axes_mm[0], spacing_mm)
    diaphragm = diaphragm_under(build.lungs > 0, build.z_mm, spacing_mm)
    build_wall(build, habit, cage)
    build_abdomen(build, habit, cage, diaphragm)
    build_heart(build, habit, _hila(build, shape, fit), _pericardium(build, cage, diaphragm))
    build_skeleton(build, habit, cage)
    fill_lungs(build, share, shape, fit.placed, look)
    build.organs[build.lungs > 0] = 0
    volume = ndimage.gaussian_filter(build.volume_hu, (0.3, 0.45, 0.45), truncate=2)
    volume = np.clip(volume, -1024, 3071).astype(np.int16)
    lungs, organs = build.lungs, build.organs
    if exchanged:
        volume = volume[:, :, ::-1]
        lungs = np.array([0, LEFT, RIGHT], np.uint8)[lungs[:, :, ::-1]]
        organs = swapped(organs[:, :, ::-1])
    nothing = np.zeros(volume.shape, np.uint8)
    return Anatomy(
        f"lungs-{shape.case}-{seed}",
        np.ascontiguousarray(volume),
        lungs,
        nothing,
        (),
        nothing > 0,
        spacing_mm,
        organs,
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """Where the places of a shape lie in a body.

    Attributes:
        marks: Landmarks of the shape.
        zoom: Sizes in the body by those in the shape, [3] along z, y, x.
        axes_mm: Places of the body's slabs, rows and columns in its own mm: 0 at the top of the diaphragm, and in the
            middle of the lungs.
        spacing_mm: Spacing of the body's grid.
    """

    marks: Landmarks
    zoom: np.ndarray
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        marks: Landmarks,
        zoom: np.ndarray,
        habit: Habitus,
        spacing_mm: tuple[float, float, float],
        below_mm: float,
        above_mm: float,
    ) -> Fit:
        """A grid large enough for the lungs and the trunk around them."""
        fat, muscle = habit.fat_mm, habit.muscle_mm
        own = _own(marks, zoom)
        coat = (muscle + 1.15 * fat) * max(1.06, 1 + 0.003 * fat) + 26 + (105 if habit.arms else 0)
        front = max(0.7 * muscle + 0.9 * fat + 14, 0.3 * fat + 0.7 * habit.breast_mm) * (1 + 0.006 * fat) + 24
        back = 0.7 * muscle + 0.9 * fat + 70
        lows = own[0][0] - below_mm, own[1][0] - front, 1.12 * own[2][0] - coat
        highs = own[0][2] + above_mm, own[1][1] + back, 1.12 * own[2][2] + coat
        axes = []
        for low, high, step, patch in zip(lows, highs, spacing_mm, (1, 8, 8)):
            axes.append(low + step * np.arange(-(-int((high - low) / step) // patch) * patch))
        return cls(marks, zoom, (axes[0], axes[1], axes[2]), spacing_mm)

    def adult(self, axis: int) -> np.ndarray:
        """The average adult's places along an axis, float32."""
        return adult_axis(self.axes_mm[axis], _own(self.marks, self.zoom)[axis], (ADULT_Z, ADULT_Y, ADULT_X)[axis])

    def placed(self, mm: np.ndarray) -> np.ndarray:
        """Places in cells of the body's grid of places of the shape in mm, float32 [point 3] (z, y, x)."""
        straight = mm - np.stack([np.zeros(len(mm)), np.zeros(len(mm)), self.marks.aside_mm(mm[:, 0])], axis=1)
        first = np.array([axis[0] for axis in self.axes_mm])
        return (((straight - self.marks.origin_mm) * self.zoom - first) / self.spacing_mm).astype(np.float32)

    def lungs(self, shape: LungShape) -> tuple[np.ndarray, np.ndarray]:
        """The share of each voxel that is lung, float32, and the label map of the lungs, both [slab y x]."""
        z, y, x = (axis / zoom + at for axis, zoom, at in zip(self.axes_mm, self.zoom, self.marks.origin_mm))
        across = x[None, :] + self.marks.aside_mm(z)[:, None]
        size = len(z), len(y), len(x)
        places = [np.broadcast_to(z[:, None, None], size), np.broadcast_to(y[None, :, None], size)]
        cells = np.stack([*places, np.broadcast_to(across[:, None, :], size)]).astype(np.float32) / STEP_MM
        share = ndimage.map_coordinates(shape.filled.astype(np.float32) / 255, cells, order=1)
        # Beyond the labels of the shape by a cell: its voxels are not those of the body.
        sides = ndimage.grey_dilation(shape.sides, (3, 3, 3))
        sides = np.where(shape.sides > 0, shape.sides, sides)
        labels = ndimage.map_coordinates(sides, cells, order=0)
        return share, np.where(share >= 0.5, labels, 0).astype(np.uint8)


def _own(marks: Landmarks, zoom: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Landmarks along z, y and x in mm of the body."""
    z, y, x = (
        tuple(float(factor * (mm - at)) for mm in along)
        for factor, at, along in zip(zoom, marks.origin_mm, (marks.z_mm, marks.y_mm, marks.x_mm))
    )
    return z, y, x


def _outside_mm(lungs: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How far outside of the lungs each voxel lies, in mm, and how deep within, negative."""
    outside = ndimage.distance_transform_edt(lungs == 0, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(lungs > 0, sampling=spacing_mm)
    return (np.asarray(outside) - np.asarray(inside)).astype(np.float32)


def _hila(build: Build, shape: LungShape, fit: Fit) -> dict[int, Point]:
    """Where the bronchi enter the lungs, in the average adult's mm."""
    cells = np.rint(fit.placed(shape.airways.all_mm[::5])).astype(np.intp)
    cells = cells[((cells >= 0) & (cells < build.lungs.shape)).all(axis=1)]
    hila = dict(HILA)
    for side in (RIGHT, LEFT):
        own = cells[build.lungs[tuple(cells.T)] == side]
        if len(own) < 20:
            continue
        x, y, z = build.x_mm[own[:, 2]], build.y_mm[own[:, 1]], build.z_mm[own[:, 0]]
        first = np.abs(x) <= np.percentile(np.abs(x), 12)
        hila[side] = (float(np.median(x[first])), float(np.median(y[first])), float(np.median(z[first])))
    return hila


def _pericardium(build: Build, cage: np.ndarray, diaphragm: np.ndarray) -> np.ndarray:
    """How deep each voxel lies in the heart's room, in mm: between the lungs, on the diaphragm, behind some fat."""
    assert build.free_mm is not None
    x, y, z = build.at(EVERYWHERE)
    top = 78 - 0.3 * np.abs(x) + 0.2 * y
    behind = 26 - y - 12 * np.clip((12 - z) / 30, 0, 1)
    level = np.minimum(build.free_mm - 2.5, np.minimum((z - diaphragm) * 0.75 - 2, top - z))
    level = np.minimum(level, np.minimum(behind, cage - 11))
    level = np.minimum(level, np.minimum(x + 58, 96 - x)) + 1.5 * build.noise(EVERYWHERE, 20.0)
    return ndimage.gaussian_filter(level, [3.0 / step for step in build.spacing_mm]).astype(np.float32)
