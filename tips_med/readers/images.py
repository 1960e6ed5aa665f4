"""NIfTI through nibabel; NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import gzip
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from nibabel.arrayproxy import ArrayProxy

from tips_med.errors import ReadError
from tips_med.geometry import KJI_FROM_IJK, grid_corners, lps_affine_kji, spacing_mm
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine

MAX_VOXELS = 1 << 31
_GZIP_RATIO = 1040
"""Deflate cannot shrink more than this: a header that promises more than so many bytes a byte is damaged."""

_MAX_OFFSET = 64 << 20
"""Bytes before a NIfTI file's voxels; a reader unpacks all of them before the first voxel."""

_PATIENT_SPACES = frozenset(
    {
        *("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"),
    }
)
"""NRRD's spaces that define the patient's left."""

_NRRD_MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "\u00b5m": 0.001}
"""Millimetres of NRRD's space units."""

TINY_MM = 0.01
"""Voxels smaller than this on all sides are no patient's: the unit is in doubt."""

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of NIfTI's spatial unit codes (unknown, metre, millimetre, micrometre)."""


def read_image(path: Path, kind: str, *, phase: int | None) -> Scan:
    """One volume from a NIfTI, NRRD or MetaImage file.

    Raises:
        ReadError: ``damaged-file``, ``truncated-file``, ``several-phases``, ``no-orientation``,
            ``orientation-conflict``, ``bad-affine``, ``pixel-type``.
    """
    scan = _read_nifti(path, phase) if kind == "nifti" else _read_itk(path, kind, phase)
    if not np.isfinite(scan.voxels[:: max(1, scan.shape[0] // 64)]).any() and not np.isfinite(scan.voxels).any():
        raise ReadError("holds no finite value", path=path, code="no-values")
    return scan


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ReadError:
        raise
    except (EOFError, zlib.error) as error:
        raise ReadError("is cut short or damaged", path=path, code="truncated-file", remedy="copy it again") from error
    except Exception as error:  # nibabel and SimpleITK raise whatever the damaged bytes lead them to
        detail = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {detail[-1][:160]}" if detail else type(error).__name__
        raise ReadError(f"cannot be read ({reason})", path=path, code="damaged-file") from error


def _read_nifti(path: Path, phase: int | None) -> Scan:
    _check_packed(path)
    with _refusing(path):
        _check_offset(path)
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):  # also the base of Nifti2Image
            raise ReadError("is no NIfTI file", path=path, expected="NIfTI-1 or NIfTI-2", code="damaged-file")
        header = image.header
        shape = tuple(int(n) for n in image.shape)
        dtype = header.get_data_dtype()
        _check_room(path, shape, dtype.itemsize, int(header["vox_offset"]), path.name.lower().endswith(".gz"))
        volumes = _volumes(path, shape, phase)
        notes: list[str] = []
        ras_from_ijk = _nifti_affine(path, header, shape, notes)
        if dtype.kind not in "iuf" or dtype.names:
            raise ReadError(f"holds {dtype} values", path=path, expected="whole or real numbers", code="pixel-type")
        data = image.dataobj
        try:
            if len(shape) == 3 and isinstance(data, ArrayProxy):
                voxels = _nifti_values(data)
            else:
                voxels = np.ascontiguousarray(np.asarray(data[(..., *volumes)]).T, dtype=np.float32)
        except (OSError, ValueError) as error:  # nibabel's words for fewer bytes than the header promises
            raise ReadError("is cut short", path=path, code="truncated-file", remedy="copy it again") from error
    lps_from_kji = lps_affine_kji(ras_from_ijk)
    if phase is not None and len(shape) > 3:
        notes.append(f"Volume {phase} of {int(np.prod(shape[3:]))} in the file.")
    return _scan(path, voxels, lps_from_kji, "nifti", notes)


def _check_packed(path: Path) -> None:
    """Refuses a name that contradicts the compression of the file: nibabel uses the name."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ReadError("cannot be opened", path=path, code="unreadable-file") from error
    named = path.name.lower().endswith(".gz")
    packed = start[:2] == b"\x1f\x8b"
    plain = any(int.from_bytes(start, order) in (348, 540) for order in ("little", "big"))  # NIfTI-1 and -2
    if (named and plain) or (packed and not named):
        raise ReadError(
            "is not compressed, though its name ends in .gz" if named else "is compressed, though its name says not",
            path=path,
            expected="gzip for .nii.gz, none for .nii",
            remedy=f"rename it to {'.nii' if named else '.nii.gz'}",
            code="compression",
        )


def _check_offset(path: Path) -> None:
    """Refuses a header that claims gigabytes before the voxels: nibabel would unpack them all while it loads."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        start = stream.read(176)
    for order in "<>":
        size = struct.unpack_from(order + "i", start.ljust(4, b"\0"))[0]
        layout, at = {348: ("f", 108), 540: ("q", 168)}.get(size, ("", 0))  # vox_offset of NIfTI-1 and of NIfTI-2
        if layout and len(start) == 176:
            (offset,) = struct.unpack_from(order + layout, start, at)
            break
    else:
        return  # nibabel reports the error
    if not offset <= _MAX_OFFSET:
        raise ReadError(
            f"claims {offset:.0f} bytes before its voxels",
            path=path,
            expected=f"{_MAX_OFFSET} at most",
            remedy="convert it again from its source",
            code="too-large",
        )


def _nifti_values(data: ArrayProxy) -> np.ndarray:
    """Rescaled values [k j i], a slice at a time, so that no float64 copy of the whole is made."""
    raw = data.get_unscaled().T
    if data.slope == 1 and data.inter == 0:
        return np.ascontiguousarray(raw, dtype=np.float32)
    voxels = np.empty(raw.shape, np.float32)
    for k, plane in enumerate(raw):
        voxels[k] = plane * np.float64(data.slope) + np.float64(data.inter)
    return voxels


def _volumes(path: Path, shape: tuple[int, ...], phase: int | None) -> tuple[int, ...]:
    """Indices along the axes past the third of the volume that ``phase`` names."""
    count = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    if len(shape) < 3 or min(shape) < 1:
        raise ReadError(f"has the shape {shape}", path=path, expected="three axes", code="not-a-volume")
    if count > 1 and phase is None:
        raise ReadError(
            f"holds {count} volumes",
            path=path,
            expected="one volume",
            remedy="choose one with --phase N (phase=N)",
            code="several-phases",
        )
    if phase is not None and not 1 <= phase <= count:
        raise ReadError(
            f"holds {count} volume(s), there is no number {phase}",
            path=path,
            expected=f"a number from 1 to {count}",
            code="no-such-phase",
        )
    return tuple(int(n) for n in np.unravel_index((phase or 1) - 1, shape[3:] or (1,), order="F"))[: len(shape) - 3]


def _check_room(path: Path, shape: tuple[int, ...], item_bytes: int, offset: int, packed: bool) -> None:
    wanted = item_bytes * int(np.prod(np.array(shape, dtype=object)))
    if int(np.prod(np.array(shape[:3], dtype=object))) > MAX_VOXELS:
        raise ReadError(f"claims {shape} voxels", path=path, expected=f"{MAX_VOXELS} at most", code="too-large")
    there = path.stat().st_size
    if (packed and wanted + offset > there * _GZIP_RATIO) or (not packed and there < wanted + offset):
        raise ReadError(
            f"is cut short: {there} bytes cannot hold {shape} values of {item_bytes} bytes",
            path=path,
            remedy="copy the file again",
            code="truncated-file",
        )


def _nifti_affine(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...], notes: list[str]) -> Affine:
    """RAS from (i, j, k), mm: the sform, else the qform (NIfTI-1 standard, methods 3 and 2)."""
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
    if sform is None and qform is None:
        raise ReadError(
            "has no orientation (sform and qform codes are both 0)",
            path=path,
            expected="a sform or a qform",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    affine = np.asarray(sform if sform is not None else qform, dtype=np.float64)
    scale = _MM.get(int(header["xyzt_units"]) & 7)
    if scale is None:
        raise ReadError(
            "has an unknown unit of length",
            path=path,
            expected="mm",
            remedy="set the header's xyzt_units to 2 (mm)",
            code="bad-affine",
        )
    if (
        scale == 1000.0
        and np.isfinite(affine).all()
        and 0.1 <= spacing_mm(affine).min() <= spacing_mm(affine).max() <= 50
    ):
        scale = 1.0
        notes.append("The header gives its lengths in metres, but no voxel is that large: taken as mm.")
    if scale != 1.0:
        scaling = np.diag([scale, scale, scale, 1.0])
        affine = scaling @ affine
        sform, qform = (None if form is None else scaling @ form for form in (sform, qform))
        notes.append("Lengths in the file are not in mm and were converted.")
    _check_affine(path, affine)
    if sform is not None and qform is not None:
        grid = (shape[0], shape[1], shape[2])
        apart = np.linalg.norm(grid_corners(sform, grid) - grid_corners(qform, grid), axis=1).max()
        if not np.isfinite(apart) or apart > 0.5 * spacing_mm(affine).min():
            raise ReadError(
                f"its sform (code {int(s_code)}) and qform (code {int(q_code)}) place the corners up to "
                f"{apart:.3g} apart",
                path=path,
                expected="one orientation",
                remedy="set the code of the wrong one to 0, for example with nibabel's set_qform(None, 0)",
                code="orientation-conflict",
            )
    notes += _tiny(affine)
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64) * scale
    if not np.allclose(pixdim, spacing_mm(affine), rtol=0.01, atol=1e-3):
        notes.append(
            "Voxel sizes in the header ("
            + " x ".join(f"{x:.4g}" for x in pixdim)
            + ") differ from the affine's ("
            + " x ".join(f"{x:.4g}" for x in spacing_mm(affine))
            + "); the affine was taken."
        )
    return affine


def _tiny(affine: np.ndarray) -> list[str]:
    """A note on voxels that are far too small for a patient, as in a file in metres without its unit."""
    if spacing_mm(affine).max() >= TINY_MM:
        return []
    size = " x ".join(f"{x:.4g}" for x in spacing_mm(affine))
    return [f"Voxels of {size} mm are far too small for a patient: if the file is in metres, set its unit of length."]


def _check_affine(path: Path, affine: np.ndarray) -> None:
    spacing = spacing_mm(affine) if np.isfinite(affine).all() else np.zeros(3)
    volume = abs(np.linalg.det(affine[:3, :3])) if spacing.all() else 0.0
    if not spacing.all() or volume < 1e-2 * np.prod(spacing) or spacing.max() > 1e3 or spacing.min() < 1e-4:
        raise ReadError(
            "its affine is singular, or its spacing lies outside 1e-4 to 1e3 mm",
            path=path,
            expected="millimetres",
            code="bad-affine",
            remedy="check the affine and the unit of length (xyzt_units) in its header",
        )
    if np.abs(affine[:3, 3]).max() > 1e6:
        raise ReadError(
            "its affine places it a kilometre away", path=path, code="bad-affine", remedy="check the header"
        )


def _read_itk(path: Path, kind: str, phase: int | None) -> Scan:
    with _refusing(path):
        own = _check_itk_header(path, kind)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())
        volumes = _volumes(path, size, phase)
        if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise ReadError("holds several values a voxel", path=path, expected="one", code="pixel-type")
        item_bytes = 1 if own.compressed else _item_bytes(reader.GetPixelID())
        _check_room(path, size, item_bytes, 0, own.compressed)
        image = reader.Execute()
        for index in reversed(volumes):
            image = image[..., index] if image.GetDimension() > 3 else image
        direction = np.array(image.GetDirection()).reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = direction * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        affine[:3] *= own.mm
        _check_affine(path, affine)
        voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(image), dtype=np.float32)
    notes = [*own.notes, *_tiny(affine)]
    notes += [f"Volume {phase} of {int(np.prod(size[3:]))} in the file."] if phase and len(size) > 3 else []
    return _scan(path, voxels, affine @ KJI_FROM_IJK, kind, notes)


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


def _scan(path: Path, voxels: np.ndarray, lps_from_kji: Affine, kind: str, notes: list[str]) -> Scan:
    if np.isinf(voxels).any():
        voxels[np.isinf(voxels)] = np.nan
        notes.append("Infinite values were set to NaN.")
    return Scan(voxels, lps_from_kji, "OT", "", Provenance(kind, notes=tuple(notes)))
