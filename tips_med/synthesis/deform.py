"""A crop of an anatomy, deformed: another body, another habitus, another breath, perhaps mirrored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.findings import fill_air
from tips_med.synthesis.noise import smooth_noise
from tips_med.synthesis.organs import swapped

HOLE_HU = -945.0
"""Lung below this (the usual threshold is -950 HU, at 1 mm) may be a hole of real emphysema that nobody outlined."""

THIN_HU = -910.0
"""Lung whose mean over some 14 mm is below this may be diffuse emphysema."""

THIN_LUNG_HU = -895.0
"""A lung whose mean is below this may have it anywhere: real ones without it, in a deep breath, have some -860 HU."""


@dataclass(frozen=True)
class Deformation:
    """How strongly bodies are changed before anything is painted into them.

    Attributes:
        mirrored: Probability of mirroring left and right, 0 to 1.
        turn_degrees: Standard deviation of a turn about the long axis, in degrees.
        zoom: Range of the zoom: in-plane sizes are multiplied by up to exp(+-zoom).
        elastic_mm: Standard deviation of smooth in-plane shifts, in mm.
        breath: Maximum share of air that a shallow breath takes from all of the lung; half of the bodies have none.
        dependent: Maximum share of air that gravity takes from the back of the lung beyond that.
    """

    mirrored: float = 0.3
    turn_degrees: float = 6.0
    zoom: float = 0.16
    elastic_mm: float = 4.0
    breath: float = 0.12
    dependent: float = 0.12


@dataclass(frozen=True, eq=False)
class DeformedCrop:
    """A deformed crop of an anatomy; all arrays are [slab y x].

    Attributes:
        volume_hu: Hounsfield units, float32 [slab y x].
        lungs: Label map of the lungs, 1 right, 2 left; None where the anatomy's are not labelled.
        lesions: Label map of the anatomy's outlined lesions.
        ignored: Mask of possible lesions, and of cells beyond the scan.
        organs: Labels of ``tips_med.synthesis.organs``; None where nobody labelled them.
        offset_mm: Position of the first pixel's centre relative to the middle of the body, (y, x) in mm.
        thin: Mask of lung that may be emphysema, before a breath or gravity took its air; None where the anatomy's
            lungs are not labelled.
    """

    volume_hu: np.ndarray
    lungs: np.ndarray | None
    lesions: np.ndarray
    ignored: np.ndarray
    organs: np.ndarray | None
    offset_mm: tuple[float, float]
    thin: np.ndarray | None = None


def sample_deformed_crop(
    anatomy: Anatomy, shape: tuple[int, int, int] | None, deformation: Deformation, rng: np.random.Generator
) -> DeformedCrop:
    """Cuts and deforms a crop.

    Args:
        anatomy: Anatomy to crop from.
        shape: Shape of the crop, (slab, y, x); the whole anatomy when None.
        deformation: Strength of the deformation.
        rng: Random generator, the only source of randomness.
    """
    middle = np.array(anatomy.middle_yx)
    mirror = rng.random() < deformation.mirrored
    angle = np.deg2rad(rng.normal(0, deformation.turn_degrees))
    zoom = np.exp(rng.uniform(-deformation.zoom, deformation.zoom) + rng.normal(0, 0.03, 2))
    matrix = np.eye(3)
    matrix[0, 0] = np.exp(rng.uniform(-0.3, 0.2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[1:, 1:] = turn @ np.diag(zoom)
    if mirror:
        matrix[:, 2] *= -1
    # The body's middle lies near the middle of the scene; the network gets both, one with a small error.
    size = shape or _whole(anatomy, matrix[0, 0])
    at = np.array(size[1:]) / 2 - 0.5 + rng.uniform(-14, 14, 2)
    slab = _slab(anatomy, rng) if shape else len(anatomy.volume_hu) / 2 - 0.5
    shift = np.array([slab, *middle]) - matrix @ np.array([size[0] / 2 - 0.5, *at])
    z = matrix[0, 0] * np.arange(size[0]) + shift[0]
    rows, columns = np.indices(size[1:], dtype=np.float32)
    y, x = (
        matrix[axis, 1] * rows + matrix[axis, 2] * columns + shift[axis] + _bend(size, axis, anatomy, deformation, rng)
        for axis in (1, 2)
    )
    volume, ended = _interpolate(anatomy.volume_hu, z, y, x)
    index, inside = _nearest(anatomy.volume_hu.shape, z, y, x)

    def labels(array: np.ndarray) -> np.ndarray:
        return np.where(inside, array.ravel()[index], array.dtype.type(0))

    ignored = labels(anatomy.ignored)
    ignored[ended] = True
    lungs = None
    if anatomy.lungs is not None:
        lungs = labels(anatomy.lungs)
        if mirror:
            lungs = np.array([0, LEFT, RIGHT], np.uint8)[lungs]
    lesions = labels(anatomy.lesions) if anatomy.lesion_mm else np.zeros(size, np.uint8)
    organs = None
    if anatomy.organs is not None:
        organs = swapped(labels(anatomy.organs)) if mirror else labels(anatomy.organs)
    offset_mm = -at * np.array(anatomy.spacing_mm[1:]) + rng.normal(0, 8 if rng.random() < 0.75 else 22, 2)
    thin = None if lungs is None else thin_lung(volume, lungs)
    crop = DeformedCrop(volume, lungs, lesions, ignored, organs, (float(offset_mm[0]), float(offset_mm[1])), thin)
    return _breathe(crop, anatomy.spacing_mm, deformation, rng)


def thin_lung(volume_hu: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """The lung that may be real emphysema, bool [slab y x]: holes, thin areas, and all of a lung that is thin."""
    inside = lungs > 0
    thin = ndimage.uniform_filter(volume_hu, 3, axes=(1, 2)) < HOLE_HU
    # What is no lung, and vessels, count as if they were lung that is not thin.
    around = np.where(inside, np.minimum(volume_hu, -700.0), np.float32(-850.0))
    for axis, width in enumerate((3, 7, 7)):
        around = ndimage.uniform_filter1d(around, width, axis)
    thin |= around < THIN_HU
    for side in (RIGHT, LEFT):
        lung = lungs == side
        tissue = volume_hu[lung & (volume_hu < -600)]
        if tissue.size and tissue.mean() < THIN_LUNG_HU:
            thin |= lung
    return thin & inside


def _breathe(
    crop: DeformedCrop, spacing_mm: tuple[float, float, float], deformation: Deformation, rng: np.random.Generator
) -> DeformedCrop:
    """Takes air from the lungs: evenly, as in a shallow breath, and towards the back, as gravity does.

    None of this is a finding: what is hazy everywhere or a little at the back must not be taken for ground glass.
    """
    if crop.lungs is None or not crop.lungs.any():
        return crop
    even = rng.uniform(0, deformation.breath) * (rng.random() < 0.5)
    back = rng.uniform(0, deformation.dependent) * (rng.random() < 0.6)
    rows = np.flatnonzero((crop.lungs > 0).any(axis=(0, 2)))
    low = (np.arange(crop.lungs.shape[1]) - rows[0]) / max(1, np.ptp(rows))
    taken = even * (1 + 0.15 * smooth_noise(crop.lungs.shape, 32.0, spacing_mm, rng))
    taken = taken + back * np.clip(low, 0, 1)[None, :, None] ** 2
    inside = ndimage.uniform_filter((crop.lungs > 0).astype(np.float32), 3)
    return replace(crop, volume_hu=fill_air(crop.volume_hu, np.clip(taken, 0, 0.4) * inside, 20.0).astype(np.float32))


def _bend(
    size: tuple[int, int, int], axis: int, anatomy: Anatomy, deformation: Deformation, rng: np.random.Generator
) -> np.ndarray:
    """A smooth shift along rows or columns, in pixels, [slab y x]."""
    bend_mm = deformation.elastic_mm * rng.random()
    return (bend_mm / anatomy.spacing_mm[axis] * smooth_noise(size, 64.0, anatomy.spacing_mm, rng)).astype(np.float32)


def _interpolate(volume_hu: np.ndarray, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples a volume at slabs z [slab] and pixels y, x [slab y x]; air beside it.

    Slabs beyond the scan's ends repeat the last one, as the tower's own channels do; the result marks these slabs.
    """
    last = len(volume_hu) - 1
    out = np.empty(y.shape, np.float32)
    for k, place in enumerate(np.clip(z, 0, last)):
        low = min(int(place), max(0, last - 1))
        plane = volume_hu[low].astype(np.float32)
        plane += np.float32(place - low) * (volume_hu[min(low + 1, last)] - plane)
        out[k] = ndimage.map_coordinates(plane, (y[k], x[k]), order=1, cval=-1024.0, prefilter=False)
    return out, (z < 0) | (z > last)


def _nearest(shape: tuple[int, ...], z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the nearest voxels, and whether they are within the volume; both [slab y x]."""
    slab = np.rint(z).astype(np.intp)[:, None, None]
    row, column = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    inside = (slab >= 0) & (slab < shape[0]) & (row >= 0) & (row < shape[1]) & (column >= 0) & (column < shape[2])
    index = (slab * shape[1] + row) * shape[2] + column
    return np.where(inside, index, 0), inside


def _whole(anatomy: Anatomy, stretch: float) -> tuple[int, int, int]:
    """A shape that holds the whole anatomy and no slab beyond, with whole tokens of the deepest level in y and x."""
    slabs, rows, columns = anatomy.volume_hu.shape
    return int((slabs - 1) / stretch) + 1, -(-rows // 16) * 16, -(-columns // 16) * 16


def _slab(anatomy: Anatomy, rng: np.random.Generator) -> float:
    """Where to cut: mostly where lungs are, or where a real lesion is."""
    chance = rng.random()
    if chance < 0.2 and anatomy.lesions.any():
        return float(rng.choice(np.flatnonzero(anatomy.lesions.any(axis=(1, 2))))) + rng.uniform(-3, 3)
    if chance < 0.85 and anatomy.lungs is not None and anatomy.lungs.any():
        return float(rng.choice(np.flatnonzero(anatomy.lungs.any(axis=(1, 2)))))
    return float(rng.uniform(0, len(anatomy.volume_hu) - 1))
