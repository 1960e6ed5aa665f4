"""Image files by format: NIfTI through nibabel; NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name

from tips_med.errors import ReadError
from tips_med.geometry import KJI_FROM_IJK
from tips_med.readers.image_checks import check_affine, check_room, refusing, scan_of, tiny_voxels, volume_index
from tips_med.readers.nifti import read_nifti
from tips_med.scan import Scan

_PATIENT_SPACES = frozenset(
    {
        *("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"),
    }
)
"""NRRD's spaces that define the patient's left."""

_NRRD_MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "\u00b5m": 0.001}
"""Millimetres of NRRD's space units."""


def read_image(path: Path, kind: str, *, phase: int | None) -> Scan:
    """One volume from a NIfTI, NRRD or MetaImage file.

    Raises:
        ReadError: ``damaged-file``, ``truncated-file``, ``several-phases``, ``no-orientation``,
            ``orientation-conflict``, ``bad-affine``, ``pixel-type``.
    """
    scan = read_nifti(path, phase) if kind == "nifti" else _read_itk(path, kind, phase)
    if not np.isfinite(scan.voxels[:: max(1, scan.shape[0] // 64)]).any() and not np.isfinite(scan.voxels).any():
        raise ReadError("holds no finite value", path=path, code="no-values")
    return scan


def _read_itk(path: Path, kind: str, phase: int | None) -> Scan:
    with refusing(path):
        own = _check_itk_header(path, kind)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())
        volumes = volume_index(path, size, phase)
        if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise ReadError("holds several values a voxel", path=path, expected="one", code="pixel-type")
        item_bytes = 1 if own.compressed else _item_bytes(reader.GetPixelID())
        check_room(path, size, item_bytes, 0, own.compressed)
        image = reader.Execute()
        for index in reversed(volumes):
            image = image[..., index] if image.GetDimension() > 3 else image
        direction = np.array(image.GetDirection()).reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = direction * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        affine[:3] *= own.mm
        check_affine(path, affine)
        voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(image), dtype=np.float32)
    notes = [*own.notes, *tiny_voxels(affine)]
    notes += [f"Volume {phase} of {int(np.prod(size[3:]))} in the file."] if phase and len(size) > 3 else []
    return scan_of(path, voxels, affine @ KJI_FROM_IJK, kind, notes)


def _item_bytes(pixel_id: int) -> int:
    """Bytes of one value of a SimpleITK pixel type."""
    return sitk.GetArrayViewFromImage(sitk.Image([1, 1], pixel_id)).itemsize


@dataclass(frozen=True)
class _ItkHeader:
    """Header values that SimpleITK ignores.

    Attributes:
        compressed: Whether the data are compressed.
        mm: Length of the header's unit in mm.
        notes: Notes on what the header leaves open.
    """

    compressed: bool
    mm: float = 1.0
    notes: tuple[str, ...] = ()


def _check_itk_header(path: Path, kind: str) -> _ItkHeader:
    """Checks that a file states its position: SimpleITK places an image without orientation at the origin.

    Raises:
        ReadError: ``damaged-file``, ``detached-data``, ``no-orientation``, ``bad-affine``.
    """
    with path.open("rb") as stream:
        text = stream.read(65536).decode("latin-1")
    return _check_nrrd(path, text) if kind == "nrrd" else _check_metaimage(path, text)


def _check_nrrd(path: Path, text: str) -> _ItkHeader:
    """The fields of an NRRD header (``name: value``; ``name:=value`` is somebody's own)."""
    if not text.startswith("NRRD"):
        raise ReadError("has no NRRD header", path=path, expected="NRRD", remedy="copy it again", code="damaged-file")
    lines = text.replace("\r\n", "\n").split("\n\n")[0].split("\n")[1:]
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and not value.startswith("=") and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise ReadError(
            "keeps its data in another file",
            path=path,
            expected="one file",
            remedy="save it again with its data in the same file (.nrrd)",
            code="detached-data",
        )
    if "space" not in fields or "space directions" not in fields:
        raise ReadError(
            "has no position in the patient",
            path=path,
            expected="the fields space and space directions",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    space = fields["space"].lower().removesuffix("-time")
    if space not in _PATIENT_SPACES:
        raise ReadError(
            f"its space is {fields['space']!r}, which does not define the patient's left",
            path=path,
            expected="left-posterior-superior, right-anterior-superior or left-anterior-superior",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    units = {unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))} - {""}
    factors = {_NRRD_MM.get(unit) for unit in units} or {1.0}
    (mm,) = factors if len(factors) == 1 else (None,)
    if mm is None:
        raise ReadError(
            f"its space units are {', '.join(sorted(units))}",
            path=path,
            expected="mm",
            remedy="convert it to millimetres",
            code="bad-affine",
        )
    notes = [] if mm == 1.0 else [f"Lengths in the file are in {units.pop()} and were converted to mm."]
    if "space origin" not in fields:
        notes.append("It has no space origin: its place in the patient is not known, and was taken as 0, 0, 0.")
    return _ItkHeader(fields.get("encoding", "raw").lower() != "raw", mm, tuple(notes))


def _check_metaimage(path: Path, text: str) -> _ItkHeader:
    """The fields of a MetaImage header, which ends with ElementDataFile."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    if "elementdatafile" not in fields:
        raise ReadError(
            "has no MetaImage header", path=path, expected="MetaImage", remedy="copy it again", code="damaged-file"
        )
    if fields["elementdatafile"].lower() != "local":
        raise ReadError(
            "keeps its data in another file",
            path=path,
            expected="one file",
            remedy="save it again as one .mha file",
            code="detached-data",
        )
    if not {"transformmatrix", "orientation", "rotation"} & set(fields):
        raise ReadError(
            "has no orientation",
            path=path,
            expected="TransformMatrix",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    if "elementspacing" not in fields or "ndims" not in fields:
        raise ReadError(
            "has no position in the patient",
            path=path,
            expected="ElementSpacing and NDims",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    placed = {"offset", "position", "origin"} & set(fields)
    unplaced = "It has no Offset: its place in the patient is not known, and was taken as 0, 0, 0."
    return _ItkHeader(fields.get("compresseddata", "").lower() == "true", 1.0, () if placed else (unplaced,))
