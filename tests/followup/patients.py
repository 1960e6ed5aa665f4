"""A body of two lungs with vessels and spheres in it, on any grid, and moved by a known transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from tests.phantom import body, rule_model
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import transform_points
from tips_med.grounding import encode
from tips_med.scan import Provenance, Scan
from tips_med.synthesis.motion import move

Sphere = tuple[tuple[float, float, float], float, float]
VESSEL, MASS = -500.0, 150.0
LEFT, RIGHT = (65.0, 10.0, -40.0), (-60.0, -5.0, 40.0)

OBLIQUE = sitk.Euler3DTransform([0, 0, 0], 0.2, -0.1, 0.15)
MATRIX = np.array(OBLIQUE.GetMatrix()).reshape(3, 3)


def grid(spacing_mm: tuple[float, float, float], turn: np.ndarray | None = None, mirrored: bool = False) -> tuple:
    """An affine and a shape that cover the body: anisotropic, oblique, mirrored."""
    shape = tuple(int(n) for n in np.ceil(np.array([250.0, 190.0, 290.0]) / spacing_mm))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * spacing_mm
    if mirrored:
        affine[:3, 2] *= -1
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine, shape


GRIDS = {
    "axial": grid((3.0, 2.0, 3.0)),
    "anisotropic": grid((4.0, 1.5, 2.5)),
    "oblique": grid((3.0, 2.0, 2.5), MATRIX),
    "mirrored": grid((3.0, 2.5, 2.0), None, mirrored=True),
}


def patient(spheres: Sequence[Sphere], on: str = "axial") -> Scan:
    """A patient with smooth lungs, for what needs no registration."""
    affine, shape = GRIDS[on]
    return replace(body(spheres, affine, shape), provenance=Provenance("array"))


def with_vessels(scan: Scan, seed: int = 4) -> Scan:
    """Beads of vessels at random places of the lungs: without them there is nothing to be registered by."""
    rng = np.random.default_rng(seed)
    voxels, index_from_lps = scan.voxels.copy(), np.linalg.inv(scan.lps_from_kji)
    offsets = np.stack(np.meshgrid(*[np.arange(-8, 8.1, 1.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for _ in range(400):
        place = rng.uniform(-1, 1, 3) * (40, 58, 98)
        if ((place / (41, 60, 100)) ** 2).sum() > 0.9:
            continue
        ball = offsets[np.linalg.norm(offsets, axis=1) < rng.uniform(3, 6)] + place + [rng.choice([-60, 60]), 0, 0]
        k, j, i = np.rint(transform_points(index_from_lps, ball)).astype(int).T
        voxels[k, j, i] = np.maximum(voxels[k, j, i], VESSEL)
    return replace(scan, voxels=voxels)


def moved(scan: Scan, motion: sitk.Transform, on: str) -> Scan:
    """The patient of a scan, moved: at each place x what the scan shows at T(x)."""
    affine, shape = GRIDS[on]
    voxels = np.nan_to_num(move(scan.voxels, scan.lps_from_kji, motion, affine, shape), nan=-1000.0)
    return replace(scan, voxels=voxels.astype(np.float32), lps_from_kji=affine)


def motion() -> sitk.Transform:
    """A turn of 3 degrees and a shift by 9 mm."""
    return sitk.Euler3DTransform([0, 0, 0], 0.0, 0.0, np.deg2rad(3.0), [5.0, -4.0, 6.0])


def study(scan: Scan) -> EncodedStudy:
    return encode(scan, rule_model())


def mass(place: tuple[float, float, float], radius_mm: float) -> Sphere:
    return place, radius_mm, MASS
