"""DICOM series of the body with a mass, as patients are scanned, and where a segmentation lies in the patient."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
from pydicom.dataset import Dataset

from tests.phantom import body, rule_model
from tests.readers.awkward.writing import ROOT, make_series, store, write_series
from tests.server.running import MASS
from tips_med.geometry import transform_points
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan

NAME = "DOE^JANE"
_A = np.deg2rad(17)
ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": (1.0, 0.0, 0.0, 0.0, float(np.cos(_A)), float(np.sin(_A))),
    "mirrored": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
}


def ct_series(folder: Path, name: str, patient: int, slices: int = 80) -> tuple[Path, str, str]:
    """Writes the body as a DICOM series.

    Args:
        folder: New folder.
        name: Of ``ORIENTATIONS``.
        patient: Number that makes its identifiers unlike those of others.
        slices: How many there are, 3 mm apart.

    Returns:
        The folder, Study Instance UID and Series Instance UID.
    """
    made = make_series(
        slices=slices,
        rows=100,
        columns=100,
        spacing_mm=(2.0, 3.0),
        step_mm=3.0,
        orientation=ORIENTATIONS[name],
        centre=np.zeros(3),
    )
    start = made[0].points[0, 0]
    affine = np.eye(4)
    ends = (made[1].points[0, 0], made[0].points[1, 0], made[0].points[0, 1])
    affine[:3, :3] = np.stack([end - start for end in ends], axis=1)
    affine[:3, 3] = start
    voxels = body(MASS, affine, (slices, 100, 100)).voxels
    study, series = f"{ROOT}.{patient}.1", f"{ROOT}.{patient}.2"
    for number, (one, plane) in enumerate(zip(made, voxels)):
        store(one, plane).set(
            PatientName=NAME,
            PatientID=f"P{patient}",
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{number + 1}",
            FrameOfReferenceUID=f"{ROOT}.{patient}.3",
        )
    return write_series(folder, made), study, series


def true_points(series: Path, query: str) -> np.ndarray:
    """Where ``ground`` itself finds it: points in LPS in mm, sorted."""
    answer = ground(encode(read_scan(series), rule_model()), query, rule_model())
    return sorted_points(transform_points(answer.scan.lps_from_kji, np.argwhere(answer.mask)))


def seg_points(dataset: Dataset) -> np.ndarray:
    """Where a DICOM segmentation lies, all its segments together: points in LPS in mm, sorted."""
    volume = highdicom.seg.Segmentation.from_dataset(dataset).get_volume(combine_segments=True)
    return sorted_points(transform_points(volume.affine, np.argwhere(volume.array)))


def sorted_points(points: np.ndarray) -> np.ndarray:
    """Points [n 3] in an order that does not depend on where they come from."""
    rounded = np.round(np.asarray(points, float), 2) + 0.0
    return rounded[np.lexsort(rounded.T)]
