"""NIfTI-1 and NIfTI-2: headers through nibabel, voxels unpacked by isal."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.arrayproxy import ArrayProxy

from tips_med.errors import ReadError
from tips_med.geometry import grid_corners, lps_affine_kji, spacing_mm
from tips_med.readers.image_checks import check_affine, check_room, refusing, scan_of, tiny_voxels, volume_index
from tips_med.scan import Scan
from tips_med.shapes import Affine

_CHUNK = 4 << 20
"""Bytes that are unpacked at once."""

_MAX_OFFSET = 64 << 20
"""Bytes before a NIfTI file's voxels; a reader unpacks all of them before the first voxel."""

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of NIfTI's spatial unit codes (unknown, metre, millimetre, micrometre)."""


def read_nifti(path: Path, phase: int | None) -> Scan:
    """One volume of a NIfTI file; see ``read_image``."""
    _check_packed(path)
    with refusing(path):
        _check_offset(path)
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):  # also the base of Nifti2Image
            raise ReadError("is no NIfTI file", path=path, expected="NIfTI-1 or NIfTI-2", code="damaged-file")
        header = image.header
        shape = tuple(int(n) for n in image.shape)
        dtype = header.get_data_dtype()
        check_room(path, shape, dtype.itemsize, int(header["vox_offset"]), path.name.lower().endswith(".gz"))
        volumes = volume_index(path, shape, phase)
        notes: list[str] = []
        ras_from_ijk = _nifti_affine(path, header, shape, notes)
        if dtype.kind not in "iuf" or dtype.names:
            raise ReadError(f"holds {dtype} values", path=path, expected="whole or real numbers", code="pixel-type")
        data = image.dataobj
        try:
            if len(shape) == 3 and isinstance(data, ArrayProxy):
                voxels = _nifti_values(path, data)
            else:
                voxels = np.ascontiguousarray(np.asarray(data[(..., *volumes)]).T, dtype=np.float32)
        # Also for fewer bytes than the header promises. The types of isal's own error are wrong.
        except (OSError, ValueError, isal_zlib.error) as error:  # pyright: ignore[reportGeneralTypeIssues]
            raise ReadError(
                "is cut short or damaged", path=path, code="truncated-file", remedy="copy it again"
            ) from error
    lps_from_kji = lps_affine_kji(ras_from_ijk)
    if phase is not None and len(shape) > 3:
        notes.append(f"Volume {phase} of {int(np.prod(shape[3:]))} in the file.")
    return scan_of(path, voxels, lps_from_kji, "nifti", notes)


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


def _nifti_values(path: Path, data: ArrayProxy) -> np.ndarray:
    """Rescaled values [k j i], a slice at a time, so that no float64 copy of the whole is made."""
    raw = (_unpacked(path, data) if path.name.lower().endswith(".gz") else data.get_unscaled()).T
    if data.slope == 1 and data.inter == 0:
        return np.ascontiguousarray(raw, dtype=np.float32)
    voxels = np.empty(raw.shape, np.float32)
    for k, plane in enumerate(raw):
        voxels[k] = plane * np.float64(data.slope) + np.float64(data.inter)
    return voxels


def _unpacked(path: Path, data: ArrayProxy) -> np.ndarray:
    """The stored values of a compressed file, [i j k]: nibabel's own way takes twice as long, and sees no checksum.

    Raises:
        EOFError: There are fewer than the header promises.
    """
    raw = np.empty(data.shape, data.dtype, order="F")
    left = raw.reshape(-1, order="F").view(np.uint8).data
    with igzip.IGzipFile(str(path)) as stream:
        stream.read(data.offset)
        while left:
            count = stream.readinto(left[:_CHUNK])
            if not count:
                raise EOFError
            left = left[count:]
        while stream.read(_CHUNK):  # to the end, where the checksum is
            pass
    return raw


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
    check_affine(path, affine)
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
    notes += tiny_voxels(affine)
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
