"""Writes series of the phantom: plain by default, and as awkward as a case makes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.readers.awkward.phantom import CENTRE, Truth, hounsfield

CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROOT = "1.2.826.0.1.3680043.10.999"


@dataclass
class Slice:
    """A slice to be written: its data set, the LPS points of its pixels [j i 3] and the HU it holds [j i]."""

    dataset: Dataset
    points: np.ndarray
    values: np.ndarray

    def set(self, **elements: Any) -> Slice:
        """Sets elements; None removes one."""
        for keyword, value in elements.items():
            if value is None:
                if keyword in self.dataset:
                    delattr(self.dataset, keyword)
            else:
                setattr(self.dataset, keyword, value)
        return self


@dataclass(frozen=True)
class Plan:
    """The geometry of a plain series, and the rule for its stored values."""

    slices: int = 12
    rows: int = 24
    columns: int = 20
    spacing_mm: tuple[float, float] = (1.25, 1.5)
    step_mm: float = 2.5
    orientation: Sequence[float] = AXIAL
    step: Sequence[float] | None = None
    slope: float = 1.0
    intercept: float = -1024.0
    signed: bool = False
    bits: int = 12
    sop_class: str = CT
    modality: str = "CT"
    series: int = 1
    centre: np.ndarray = field(default_factory=lambda: CENTRE)


def make_series(plan: Plan | None = None, **changes: Any) -> list[Slice]:
    """The slices of a plain series in order along their normal."""
    from dataclasses import replace

    plan = replace(plan or Plan(), **changes)
    row, column = np.array(plan.orientation[:3], float), np.array(plan.orientation[3:], float)
    normal = np.cross(row, column)
    step = np.array(plan.step, float) if plan.step is not None else normal * plan.step_mm
    middle = step * (plan.slices - 1) / 2
    middle = middle + row * plan.spacing_mm[1] * (plan.columns - 1) / 2
    middle = middle + column * plan.spacing_mm[0] * (plan.rows - 1) / 2
    first = plan.centre - middle
    return [make_slice(plan, first + k * step, k) for k in range(plan.slices)]


def make_slice(plan: Plan, position: np.ndarray, number: int) -> Slice:
    """One slice whose first pixel lies at ``position``."""
    position = np.array([float(f"{x:.6f}") for x in position])
    row, column = np.array(plan.orientation[:3], float), np.array(plan.orientation[3:], float)
    j, i = np.meshgrid(np.arange(plan.rows), np.arange(plan.columns), indexing="ij")
    points = position + j[..., None] * plan.spacing_mm[0] * column + i[..., None] * plan.spacing_mm[1] * row
    dataset = _dataset(plan, position, number)
    made = Slice(dataset, points, np.zeros((plan.rows, plan.columns)))
    return store(made, hounsfield(points))


def store(item: Slice, values: np.ndarray) -> Slice:
    """Puts values into a slice by its own rescale rule; the slice then holds what can be read back."""
    dataset = item.dataset
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    stored = np.rint((values - intercept) / slope)
    half = 1 << (dataset.BitsStored - 1)
    low, high = (-half, half - 1) if dataset.PixelRepresentation else (0, 2 * half - 1)
    stored = np.clip(stored, low, high).astype("<i2" if dataset.PixelRepresentation else "<u2")
    item.values = stored * slope + intercept
    put_stored(item, stored)
    return item


def put_stored(item: Slice, stored: np.ndarray) -> None:
    """Sets the pixel data as it is."""
    item.dataset.PixelData = stored.tobytes()


def stored_of(item: Slice) -> np.ndarray:
    """The stored values, [j i]."""
    dataset = item.dataset
    dtype = "<i2" if dataset.PixelRepresentation else "<u2"
    return np.frombuffer(dataset.PixelData, dtype).reshape(dataset.Rows, dataset.Columns).copy()


def _dataset(plan: Plan, position: np.ndarray, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = plan.sop_class
    dataset.SOPInstanceUID = f"{ROOT}.{plan.series}.{number + 1}"
    dataset.StudyInstanceUID = f"{ROOT}.100"
    dataset.SeriesInstanceUID = f"{ROOT}.200.{plan.series}"
    dataset.FrameOfReferenceUID = f"{ROOT}.300"
    dataset.Modality = plan.modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID, dataset.PatientPosition = "Phantom^Test", "P1", "HFS"
    dataset.SeriesNumber, dataset.InstanceNumber = plan.series, number + 1
    dataset.ImagePositionPatient = [f"{x:.6f}" for x in position]
    dataset.ImageOrientationPatient = [f"{x:.8f}" for x in plan.orientation]
    dataset.PixelSpacing = [f"{x:g}" for x in plan.spacing_mm]
    dataset.SliceThickness = f"{plan.step_mm:g}"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = plan.rows, plan.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, plan.bits, plan.bits - 1
    dataset.PixelRepresentation = int(plan.signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{plan.slope:g}", f"{plan.intercept:g}"
    if plan.modality == "CT":
        dataset.RescaleType = "HU"
    return dataset


def truth_of(slices: Iterable[Slice], **changes: Any) -> Truth:
    """What a right volume of these slices holds."""
    slices = list(slices)
    points = np.concatenate([item.points.reshape(-1, 3) for item in slices])
    values = np.concatenate([item.values.ravel() for item in slices])
    return Truth(points, values, **{"tolerance": 0.6, **changes})


def write_file(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian, preamble: bool = True) -> Path:
    """Writes one DICOM file (PS3.10)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if preamble:
            dataset.save_as(path, enforce_file_format=True)
        else:
            syntax = dataset.file_meta.TransferSyntaxUID
            bare = Dataset(dict(dataset.items()))
            bare.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


def write_series(
    folder: Path, slices: Sequence[Slice], syntax: str = ExplicitVRLittleEndian, names: Sequence[str] | None = None
) -> Path:
    """Writes slices, ``names[n]`` for the n-th (by default IM0001 and on, in the order given)."""
    for n, item in enumerate(slices):
        write_file(folder / (names[n] if names else f"IM{n + 1:04d}.dcm"), item.dataset, syntax)
    return folder
