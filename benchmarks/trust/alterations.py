"""Scans as they might have been cut, stored, positioned or spoilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from benchmarks.trust.cases import Known, TrustCase
from tips_med.geometry import transform_points
from tips_med.scan import Scan
from tips_med.synthesis.acquisition import add_arms

AIR_HU = -1024.0


Alter = Callable[[TrustCase], tuple[Scan, np.ndarray | None]]
"""Gives the altered scan, and the lungs on its grid."""


def boxed(case: TrustCase, low: np.ndarray, high: np.ndarray) -> tuple[Scan, np.ndarray | None]:
    """The part of a scan between two points in LPS mm (infinite where a side is not cut)."""
    affine = case.scan.lps_from_kji
    slices = []
    for axis in range(3):
        direction = affine[:3, axis]
        way = int(np.abs(direction).argmax())
        place = affine[way, 3] + direction[way] * np.arange(case.scan.shape[axis])
        inside = np.flatnonzero((place >= low[way]) & (place <= high[way]))
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    moved = affine.copy()
    moved[:3, 3] = transform_points(affine, np.array([part.start for part in slices]))[0]
    box = tuple(slices)
    scan = replace(case.scan, voxels=np.ascontiguousarray(case.scan.voxels[box]), lps_from_kji=moved)
    return scan, None if case.lungs is None else case.lungs[box]


def beside(axis: int, low: float = -np.inf, high: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    first, last = np.full(3, -np.inf), np.full(3, np.inf)
    first[axis], last[axis] = low, high
    return first, last


def lung_z(case: TrustCase) -> tuple[float, float]:
    """Lowest and highest z of the lungs, in mm."""
    if case.lungs is None:
        z = transform_points(case.scan.lps_from_kji, np.array([[0, 0, 0], [case.scan.shape[0] - 1, 0, 0]]))[:, 2]
    else:
        z = transform_points(case.scan.lps_from_kji, np.argwhere(case.lungs > 0)[::97])[:, 2]
    return float(z.min()), float(z.max())


def lesion(case: TrustCase) -> Known:
    """The centre of a narrow field of view: the first finding that is there and has a place."""
    return next(one for one in case.known if one.there and one.centre_lps is not None)


def around_lesion(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    centre = lesion(case).centre_lps
    assert centre is not None
    return boxed(case, np.array([*(centre[:2] - 80), -np.inf]), np.array([*(centre[:2] + 80), np.inf]))


def gaps(case: TrustCase, every: int) -> tuple[Scan, np.ndarray | None]:
    voxels = case.scan.voxels.copy()
    voxels[::every] = np.nan
    return replace(case.scan, voxels=voxels), case.lungs


def gap_at_lesion(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    centre = lesion(case).centre_lps
    assert centre is not None
    k = int(np.rint(transform_points(np.linalg.inv(case.scan.lps_from_kji), centre)[0, 0]))
    half = max(1, round(6 / case.scan.spacing_mm[0]))
    voxels = case.scan.voxels.copy()
    voxels[max(0, k - half) : k + half] = np.nan
    return replace(case.scan, voxels=voxels), case.lungs


def off_centre(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """The patient lies 80 mm to one side of a wide field of view."""
    n = round(80 / case.scan.spacing_mm[2]) * 2
    affine = case.scan.lps_from_kji.copy()
    affine[:3, 3] -= n * affine[:3, 2]
    pad = ((0, 0), (0, 0), (n, 0))
    voxels = np.pad(np.nan_to_num(case.scan.voxels, nan=AIR_HU), pad, constant_values=AIR_HU)
    lungs = None if case.lungs is None else np.pad(case.lungs, pad)
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), lungs


def rotated(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """Turned by 15 degrees in plane, values and labels alike; the reader's positions stay within 30 mm."""
    voxels = ndimage.rotate(case.scan.voxels, 15, (1, 2), reshape=False, order=1, cval=AIR_HU)
    lungs = None if case.lungs is None else ndimage.rotate(case.lungs, 15, (1, 2), reshape=False, order=0)
    return replace(case.scan, voxels=voxels), lungs


def stored(axes: Sequence[int]) -> Alter:
    """The same patient, with array axes that run the other way: prone, decubitus and feet-first scans look so."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        affine, voxels, lungs = case.scan.lps_from_kji.copy(), case.scan.voxels, case.lungs
        for axis in axes:
            affine[:3, 3] += (voxels.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
            lungs = None if lungs is None else np.flip(lungs, axis)
        return replace(case.scan, voxels=np.ascontiguousarray(voxels), lps_from_kji=affine), lungs

    return alter


def decubitus(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    """Rows and columns exchanged: a patient on the side, in the scanner's own picture."""
    affine = case.scan.lps_from_kji[:, [0, 2, 1, 3]]
    voxels = np.ascontiguousarray(case.scan.voxels.swapaxes(1, 2))
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), (
        None if case.lungs is None else case.lungs.swapaxes(1, 2)
    )


def arms_down(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
    n = round(120 / case.scan.spacing_mm[2])
    affine = case.scan.lps_from_kji.copy()
    affine[:3, 3] -= n * affine[:3, 2]
    pad = ((0, 0), (0, 0), (n, n))
    wide = np.pad(np.nan_to_num(case.scan.voxels, nan=AIR_HU), pad, constant_values=AIR_HU)
    voxels = add_arms(wide, case.scan.spacing_mm, np.random.default_rng(2)).astype(np.float32)
    return replace(case.scan, voxels=voxels, lps_from_kji=affine), None if case.lungs is None else np.pad(
        case.lungs, pad
    )


def heights(low: float, high: float) -> Alter:
    """Slices between two heights within the lungs, 0 lowest to 1 highest."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        first, last = lung_z(case)
        return boxed(case, *beside(2, first + low * (last - first), first + high * (last - first)))

    return alter


def filled(value_hu: float) -> Alter:
    """Nothing but one substance, in a body's place."""

    def alter(case: TrustCase) -> tuple[Scan, np.ndarray | None]:
        return replace(case.scan, voxels=np.full(case.scan.shape, value_hu, np.float32)), (
            None if case.lungs is None else np.zeros_like(case.lungs)
        )

    return alter


WAYS: dict[str, Alter] = {
    "as it is": lambda case: (case.scan, case.lungs),
    "left half": lambda case: boxed(case, *beside(0, low=case.midline_lps)),
    "right half": lambda case: boxed(case, *beside(0, high=case.midline_lps)),
    "left lung only": lambda case: boxed(case, *beside(0, low=case.midline_lps + 15)),
    "right lung only": lambda case: boxed(case, *beside(0, high=case.midline_lps - 15)),
    "160 mm around a finding": around_lesion,
    "top cut off": heights(-9, 0.55),
    "bottom cut off": heights(0.45, 9),
    "middle only": heights(0.3, 0.7),
    "12 mm missing at a finding": gap_at_lesion,
    "every third slice missing": lambda case: gaps(case, 3),
    "every second slice missing": lambda case: gaps(case, 2),
    "80 mm off centre": off_centre,
    "turned by 15 degrees": rotated,
    "columns stored mirrored": stored([2]),
    "prone": stored([1, 2]),
    "decubitus": decubitus,
    "feet first": stored([0]),
    "arms down": arms_down,
    "20 slices": lambda case: boxed(
        case, *beside(2, (z := lung_z(case))[0] + 0.5 * (z[1] - z[0]), z[0] + 0.5 * (z[1] - z[0]) + 50)
    ),
    "upper abdomen only": heights(-9, 0.12),
    "water": filled(0.0),
    "air": filled(-1000.0),
}
