"""Inputs that people reported of other software: part of a series taken for all of it, one series for many, lost units.

What is told in each note is asserted in ``tests/readers/test_reported.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.image_cases import RAS_FROM_LPS, SHAPE, grid
from tests.readers.awkward.phantom import Truth
from tests.readers.awkward.writing import (
    ROOT,
    Slice,
    make_series,
    put_stored,
    stored_of,
    truth_of,
    write_series,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"
_AXES = np.eye(3)


def _each(edit: Callable[[Slice, int], None], readable: bool = True, **plan: Any) -> Callable[[Path], Written]:
    """A plain series after ``edit(slice, number)`` of each slice."""

    def write(folder: Path) -> Written:
        slices = make_series(**plan)
        for number, item in enumerate(slices):
            edit(item, number)
        truths = (truth_of(slices),) if readable else ()
        return Written(write_series(folder, slices), truths)

    return write


def _frames_claimed(item: Slice, number: int) -> None:
    if number == 0:
        item.set(NumberOfFrames=20)


def _second_half(**elements: Any) -> Callable[[Path], Written]:
    def edit(item: Slice, number: int) -> None:
        item.set(PatientID="one")
        if number >= 6:
            item.set(**elements)

    return _each(edit, readable=False)


def _rounded(item: Slice, number: int) -> None:
    x, y, z = (float(v) for v in item.dataset.ImagePositionPatient)
    item.set(ImagePositionPatient=[x, y, f"{z:.1f}"])


def _unsigned_padding(item: Slice, number: int) -> None:
    stored = stored_of(item)
    stored[:2, :2] = 63_536
    put_stored(item, stored)
    item.values[:2, :2] = np.nan


def _object_inside(sop_class: str, image: bool) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series()
        other = make_series(slices=1)[0].set(SOPClassUID=sop_class, SOPInstanceUID=f"{ROOT}.99")
        if not image:
            other.set(Modality="SR")
            for keyword in ("PixelData", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient"):
                delattr(other.dataset, keyword)
        return Written(write_series(folder, [*slices, other]), (truth_of(slices),))

    return write


def _link_to_a_folder(folder: Path) -> Written:
    slices = make_series()
    real = write_series(folder / "store" / "ct", slices)
    (folder / "study").mkdir()
    (folder / "study" / "ct").symlink_to(real)
    return Written(folder / "study", (truth_of(slices),))


def _bytes_after_the_pixels(item: Slice, number: int) -> None:
    item.dataset.PixelData = item.dataset.PixelData + b"\0\0"


_NRRD = """NRRD0005
type: short
dimension: 3
space: {space}
sizes: 20 24 12
space directions: ({x},0,0) (0,{y},0) (0,0,{z})
kinds: domain domain domain
endian: little
encoding: raw
space origin: ({origin})
{more}"""


def _nrrd(
    space: str = "left-posterior-superior", mm: float = 1.0, more: str = "", readable: bool = True
) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        affine, truth = grid(_AXES)
        x, y, z = np.diag(affine)[:3] / mm
        origin = ",".join(f"{v:.6f}" for v in affine[:3, 3] / mm)
        values = np.rint(truth.values).reshape(SHAPE).transpose(2, 1, 0).astype("<i2")
        header = _NRRD.format(space=space, x=x, y=y, z=z, origin=origin, more=more)
        (folder / "ct.nrrd").write_bytes(header.encode() + b"\n" + values.tobytes())
        return Written(folder / "ct.nrrd", (truth,) if readable else ())

    return write


def _nifti_in_metres(said: bool) -> Callable[[Path], Written]:
    """Lengths in metres, or lengths in mm under a header that says metres."""

    def write(folder: Path) -> Written:
        affine, truth = grid(_AXES)
        metres = np.diag([0.001, 0.001, 0.001, 1.0]) if said else np.eye(4)
        data = np.rint(truth.values).reshape(SHAPE).astype(np.int16)
        image = nib.Nifti1Image(data, metres @ RAS_FROM_LPS @ affine)
        image.header["xyzt_units"] = 1
        image.to_filename(folder / "scan.nii.gz")
        return Written(folder / "scan.nii.gz", (Truth(truth.points, truth.values, truth.tolerance),))

    return write


def _misnamed(folder: Path) -> Written:
    affine, truth = grid(_AXES)
    data = np.rint(truth.values).reshape(SHAPE).astype(np.int16)
    nib.Nifti1Image(data, RAS_FROM_LPS @ affine).to_filename(folder / "scan.nii")
    (folder / "scan.nii").rename(folder / "scan.nii.gz")
    return Written(folder / "scan.nii.gz")


CASES = [
    Case(
        "a Frame of Reference UID of its own in every slice",
        _each(lambda item, n: item.set(FrameOfReferenceUID=f"{ROOT}.900.{n}") and None),
        note="taken for one volume by their positions",
    ),
    Case(
        "a Convolution Kernel of its own in every slice",
        _each(lambda item, n: item.set(ConvolutionKernel=f"B{n}") and None),
        note="taken for one volume by their positions",
    ),
    Case(
        "two frames of reference in turn",
        _each(lambda item, n: item.set(FrameOfReferenceUID=f"{ROOT}.900.{n % 2}") and None, readable=False),
        "several-phases",
    ),
    Case("classic CT that claims 20 frames", _each(_frames_claimed, readable=False), "pixel-length"),
    Case("two studies under one Series UID", _second_half(StudyInstanceUID=f"{ROOT}.101"), "several-studies"),
    Case("two patients under one Series UID", _second_half(PatientID="another"), "several-patients"),
    Case("secondary capture in the CT's own series", _object_inside(SECONDARY_CAPTURE, True), note="left out"),
    Case("dose report in the CT's own series", _object_inside(DOSE_REPORT, False), note="left out"),
    Case("folder behind a symbolic link", _link_to_a_folder),
    Case("positions rounded to 0.1 mm, 0.625 mm apart", _each(_rounded, step_mm=0.625), note="rounded"),
    Case("bytes after the pixels", _each(_bytes_after_the_pixels)),
    Case(
        "Rescale Type on half of the slices",
        _each(lambda item, n: item.set(RescaleType="HU" if n % 2 else None) and None),
    ),
    Case("padding of -2000 stored without a sign", _each(_unsigned_padding, bits=16), note="without a sign"),
    Case("NRRD, scanner-xyz", _nrrd("scanner-xyz", readable=False), "no-orientation"),
    Case("NRRD, 3D-right-handed", _nrrd("3D-right-handed", readable=False), "no-orientation"),
    Case("NRRD in centimetres", _nrrd(mm=10.0, more='space units: "cm" "cm" "cm"\n'), note="cm"),
    Case("NRRD, unknown unit", _nrrd(more='space units: "ell" "ell" "ell"\n', readable=False), "bad-affine"),
    Case("NRRD, somebody's own key named DataFile", _nrrd(more="DataFile:=original.dcm\n")),
    Case("NIfTI in metres", _nifti_in_metres(said=True), note="not in mm"),
    Case("NIfTI in mm that says metres", _nifti_in_metres(said=False), note="taken as mm"),
    Case("NIfTI not compressed, named .nii.gz", _misnamed, "compression"),
]
