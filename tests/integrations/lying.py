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
from tips_med.scan import Scan

NAME = "DOE^JANE"
_A = np.deg2rad(17)
ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": (1.0, 0.0, 0.0, 0.0, float(np.cos(_A)), float(np.sin(_A))),
    "mirrored": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
}
"""Directions of rows and columns in the patient."""


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
    row, column = np.array(ORIENTATIONS[name]).reshape(2, 3)
    affine, shape = np.eye(4), (slices, 100, 100)
    affine[:3, :3] = np.stack([3.0 * np.cross(row, column), 2.0 * column, 3.0 * row], axis=1)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return series_of(body(MASS, affine, shape), folder, patient)


def series_of(scan: Scan, folder: Path, patient: int) -> tuple[Path, str, str]:
    """Writes a scan as a DICOM series; see ``ct_series``."""
    slices, rows, columns = scan.shape
    step, down, along = scan.lps_from_kji[:3, :3].T
    down_mm, along_mm = float(np.linalg.norm(down)), float(np.linalg.norm(along))
    middle = scan.lps_from_kji @ np.array([(slices - 1) / 2, (rows - 1) / 2, (columns - 1) / 2, 1.0])
    made = make_series(
        slices=slices,
        rows=rows,
        columns=columns,
        spacing_mm=(down_mm, along_mm),
        step=step,
        step_mm=float(np.linalg.norm(step)),
        orientation=(*along / along_mm, *down / down_mm),
        centre=middle[:3],
    )
    study, series = f"{ROOT}.{patient}.1", f"{ROOT}.{patient}.2"
    for number, (one, plane) in enumerate(zip(made, scan.voxels)):
        store(one, plane).set(
            WindowCenter="-600",
            WindowWidth="1500",
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
