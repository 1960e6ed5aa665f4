"""A small patient in any orientation, and answers about it that need no model.

The patient is defined in LPS, in mm, and scanned on any grid: a body of 40 HU, two lungs of -850 HU, and a nodule of
30 HU in the left lung, behind and above the middle. Whatever the grid, a picture must show it in the same place.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from tips_med.geometry import transform_points
from tips_med.grounding import Decision, Grounding, Instance
from tips_med.query import Lexicon, Query
from tips_med.scan import Provenance, Scan
from tips_med.slabs import SlabSpec, working_grid

NODULE_LPS = np.array([38.0, 16.0, 14.0])
NODULE_RADIUS_MM = 9.0
CENTRE_LPS = np.array([0.0, 0.0, 0.0])

# Columns: where k, j and i run to; a plain axial scan is (z, y, x).
_AXIAL = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
_OBLIQUE = Rotation.from_euler("xyz", [17, -11, 23], degrees=True).as_matrix() @ _AXIAL
DIRECTIONS = {
    "axial": _AXIAL,
    "axial, head first": _AXIAL @ np.diag([-1.0, 1, 1]),
    "axial, mirrored": _AXIAL @ np.diag([1.0, 1, -1]),
    "sagittal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "coronal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "oblique": _OBLIQUE,
    "oblique, mirrored": _OBLIQUE @ np.diag([1.0, -1, 1]),
    "turned about": Rotation.from_rotvec([0, 0, np.pi - 1e-4]).as_matrix() @ _AXIAL,
}
"""``turned about`` is where NIfTI's quaternion is least exact: its real part is nearly 0."""


def patient_hu(lps: np.ndarray) -> np.ndarray:
    """What the patient measures at points [..., 3]."""
    x, y, z = np.moveaxis(lps, -1, 0)
    hu = np.where((x / 75) ** 2 + (y / 55) ** 2 < 1, 40.0, -1000.0)
    for side in (-1, 1):
        hu = np.where(((x - side * 36) / 24) ** 2 + (y / 38) ** 2 + (z / 60) ** 2 < 1, -850.0, hu)
    return np.where(np.linalg.norm(lps - NODULE_LPS, axis=-1) < NODULE_RADIUS_MM, 30.0, hu).astype(np.float32)


@cache
def ask(text: str) -> Query:
    """What is asked, as the lexicon that ships understands it."""
    return _lexicon().parse(text)


@cache
def _lexicon() -> Lexicon:
    return Lexicon.load("chest_ct")


def grid_points(lps_from_index: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The place of every cell, [k j i 3]."""
    index = np.indices(shape).reshape(3, -1).T
    return transform_points(lps_from_index, index).reshape(*shape, 3)


def make_scan(direction: str = "axial", modality: str = "CT") -> Scan:
    """The patient on a grid whose three axes differ in length and in spacing."""
    spacing, size_mm = np.array([4.0, 2.0, 2.5]), np.array([112.0, 170.0, 180.0])
    if direction in ("sagittal", "coronal"):
        size_mm = np.array([180.0, 112.0, 170.0]) if direction == "sagittal" else np.array([170.0, 112.0, 180.0])
    slices, rows, columns = (int(n) for n in size_mm / spacing)
    shape = slices, rows, columns
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[direction] * spacing
    affine[:3, 3] = CENTRE_LPS - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    uids = tuple(f"1.2.3.{k}" for k in range(shape[0]))
    provenance = Provenance("dicom", "1.2", "1.2.3", "1.2.4", "1.2.840.10008.5.1.4.1.1.2", uids)
    return Scan(patient_hu(grid_points(affine, shape)), affine, modality, "HU" if modality == "CT" else "", provenance)


def make_grounding(
    scan: Scan | None = None, text: str = "nodule in the left lung", *, state: str = "present", second: bool = False
) -> Grounding:
    """An answer that finds the nodule, as a perfect model would.

    With ``second``, also a smaller one in the right lung.
    """
    scan = scan or make_scan()
    query = ask(text)
    lps_from_heat, shape = working_grid(scan, SlabSpec(spacing_mm=(4.0, 3.0, 3.0), patch=4))
    points = grid_points(lps_from_heat, shape)
    heat = np.exp(-((np.linalg.norm(points - NODULE_LPS, axis=-1) / 12) ** 2)).astype(np.float32)
    heat[0, 0, 0] = np.nan
    if state == "absent":
        heat *= np.float32(0.2)
    places = [(NODULE_LPS, NODULE_RADIUS_MM)] + ([(np.array([-30.0, -10.0, -24.0]), 6.0)] if second else [])
    labels = np.zeros(scan.shape, np.uint8)
    instances = []
    for n, (centre, radius) in enumerate(places if state == "present" else [], 1):
        inside = np.linalg.norm(grid_points(scan.lps_from_kji, scan.shape) - centre, axis=-1) < radius
        labels[inside] = n
        slices = np.flatnonzero(inside.any(axis=(1, 2)))
        first, last = int(slices[0]), int(slices[-1])
        side = "left" if centre[0] > 0 else "right"
        x, y, z = (float(c) for c in centre)
        instances.append(
            Instance(
                label=n,
                side=side,
                region=f"middle third of the {side} lung",
                volume_ml=float(inside.sum()) * 0.02,
                long_axis_mm=2 * radius,
                slices=(first, last),
                instance_uids=scan.provenance.instance_uids[first : last + 1],
                mean_hu=float(scan.voxels[inside].mean()),
                score=0.9 / n,
                peak_lps=(x, y, z),
                centroid_lps=(x, y, z),
            )
        )
    left = (1 / (1 + np.exp(-points[..., 0] / 5))).astype(np.float32)
    lung = (patient_hu(points) < -800).astype(np.float32)
    probability = {"present": 0.93, "absent": 0.04, "unsure": 0.5}[state]
    return Grounding(
        query=query,
        scan=scan,
        presence=Decision(state, probability, probability),  # type: ignore[arg-type]
        heat=heat,
        lps_from_heat=lps_from_heat,
        labels=labels,
        instances=tuple(instances),
        peak_lps=tuple(NODULE_LPS.tolist()),
        token_heat={"nodule": heat, "left": left, "lung": lung},
        sentence=f"The answer to {text}.",
        model="compact-1 0123abcd",
    )


def with_text(grounding: Grounding, text: str) -> Grounding:
    """The same answer to a question that was typed otherwise."""
    return replace(grounding, query=replace(grounding.query, text=text))
