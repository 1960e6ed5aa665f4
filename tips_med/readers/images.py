"""NIfTI through nibabel; NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from nibabel.arrayproxy import ArrayProxy

from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS, grid_corners, spacing_mm
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine

MAX_VOXELS = 1 << 31
_GZIP_RATIO = 1040
"""Deflate cannot shrink more than this: a header that promises more than so many bytes a byte is damaged."""

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
    with _refusing(path):
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
    lps_from_kji = RAS_FROM_LPS @ ras_from_ijk @ np.eye(4)[[2, 1, 0, 3]]
    if phase is not None and len(shape) > 3:
        notes.append(f"Volume {phase} of {int(np.prod(shape[3:]))} in the file.")
    return _scan(path, voxels, lps_from_kji, "nifti", notes)


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
    if (packed and wanted > there * _GZIP_RATIO) or (not packed and there < wanted + offset):
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
            "says nothing of its orientation (sform and qform codes are both 0)",
            path=path,
            expected="a sform or a qform",
            remedy="convert it again from its source",
            code="no-orientation",
        )
    affine = np.asarray(sform if sform is not None else qform, dtype=np.float64)
    scale = _MM.get(int(header["xyzt_units"]) & 7)
    if scale is None:
        raise ReadError("has an unknown unit of length", path=path, expected="mm", code="bad-affine")
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


def _check_affine(path: Path, affine: np.ndarray) -> None:
    spacing = spacing_mm(affine) if np.isfinite(affine).all() else np.zeros(3)
    volume = abs(np.linalg.det(affine[:3, :3])) if spacing.all() else 0.0
    if not spacing.all() or volume < 1e-2 * np.prod(spacing) or spacing.max() > 1e3 or spacing.min() < 1e-4:
        raise ReadError("its affine is singular or absurd", path=path, code="bad-affine", remedy="check the header")
    if np.abs(affine[:3, 3]).max() > 1e6:
        raise ReadError(
            "its affine places it a kilometre away", path=path, code="bad-affine", remedy="check the header"
        )


def _read_itk(path: Path, kind: str, phase: int | None) -> Scan:
    with _refusing(path):
        compressed = _check_itk_header(path, kind)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())
        volumes = _volumes(path, size, phase)
        if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise ReadError("holds several values a voxel", path=path, expected="one", code="pixel-type")
        item_bytes = 1 if compressed else _item_bytes(reader.GetPixelID())
        _check_room(path, size, item_bytes, 0, compressed)
        image = reader.Execute()
        for index in reversed(volumes):
            image = image[..., index] if image.GetDimension() > 3 else image
        direction = np.array(image.GetDirection()).reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = direction * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        _check_affine(path, affine)
        voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(image), dtype=np.float32)
    notes = [f"Volume {phase} of {int(np.prod(size[3:]))} in the file."] if phase and len(size) > 3 else []
    return _scan(path, voxels, affine @ np.eye(4)[[2, 1, 0, 3]], kind, notes)


def _item_bytes(pixel_id: int) -> int:
    """Bytes of one value of a SimpleITK pixel type."""
    return sitk.GetArrayViewFromImage(sitk.Image([1, 1], pixel_id)).itemsize


def _check_itk_header(path: Path, kind: str) -> bool:
    """Whether the data are compressed.

    SimpleITK places an image without orientation at the origin; here it must say where it is.
    """
    with path.open("rb") as stream:
        start = stream.read(8192)
    text = start.decode("latin-1").lower()
    if kind == "nrrd":
        magic, needed, spaced = "nrrd", ("space:", "space directions:"), text.split("\n\n")[0]
    else:
        magic, needed, spaced = "", ("elementspacing", "ndims"), text
        if "elementdatafile" not in text:
            raise ReadError("has no MetaImage header", path=path, code="damaged-file")
        if not re.search(r"^elementdatafile\s*=\s*local\s*$", text, re.MULTILINE):
            raise ReadError("keeps its data in another file", path=path, expected="one file", code="detached-data")
        if not any(word in text for word in ("transformmatrix", "orientation", "rotation")):
            raise ReadError("says nothing of its orientation", path=path, code="no-orientation")
    if not text.startswith(magic):
        raise ReadError("has no NRRD header", path=path, code="damaged-file")
    if kind == "nrrd" and ("data file:" in spaced or "datafile:" in spaced):
        raise ReadError("keeps its data in another file", path=path, expected="one file", code="detached-data")
    if not all(word in spaced for word in needed):
        raise ReadError(
            "says nothing of its place in the patient", path=path, expected=" and ".join(needed), code="no-orientation"
        )
    words = " ".join(spaced.replace("=", " ").replace(":", " ").split())
    return "encoding raw" not in words if kind == "nrrd" else "compresseddata true" in words


def _scan(path: Path, voxels: np.ndarray, lps_from_kji: Affine, kind: str, notes: list[str]) -> Scan:
    if np.isinf(voxels).any():
        voxels[np.isinf(voxels)] = np.nan
        notes.append("Infinite values were set to NaN.")
    return Scan(voxels, lps_from_kji, "OT", "", Provenance(kind, notes=tuple(notes)))
