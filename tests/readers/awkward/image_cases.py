"""NIfTI, NRRD and MetaImage files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.geometry_cases import OBLIQUE
from tests.readers.awkward.phantom import CENTRE, Truth, hounsfield

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (20, 24, 12)


def grid(axes: np.ndarray) -> tuple[np.ndarray, Truth]:
    """LPS from (i, j, k) for directions (columns of ``axes``) and its truth in the phantom."""
    affine = np.eye(4)
    affine[:3, :3] = axes * [1.5, 1.25, 2.5]
    affine[:3, 3] = CENTRE - affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    index = np.array(np.meshgrid(*map(np.arange, SHAPE), indexing="ij")).reshape(3, -1).T
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return affine, Truth(points, np.rint(hounsfield(points)), 0.6)


_LPS = np.eye(3)
_RAS = np.diag([-1.0, -1.0, 1.0])
_SAR = np.array([[0.0, 0, -1], [0, -1, 0], [1, 0, 0]])
_ROW, _COLUMN = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
_OBLIQUE = np.c_[_ROW, _COLUMN, np.cross(_ROW, _COLUMN)]


def _nifti(
    axes: np.ndarray,
    name: str = "scan.nii.gz",
    dtype: type = np.int16,
    edit: Callable[[nib.Nifti1Image], None] | None = None,
    readable: bool = True,
) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        affine, truth = grid(axes)
        image = nib.Nifti1Image(truth.values.reshape(SHAPE).astype(dtype), RAS_FROM_LPS @ affine)
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        image.header.set_xyzt_units("mm")
        if edit is not None:
            edit(image)
        image.to_filename(folder / name)
        return Written(folder / name, (truth,) if readable else ())

    return write


def _scaled(folder: Path) -> Written:
    affine, truth = grid(_LPS)
    image = nib.Nifti1Image(((truth.values + 1100) / 0.5).reshape(SHAPE).astype(np.int16), RAS_FROM_LPS @ affine)
    image.header.set_slope_inter(0.5, -1100)
    image.to_filename(folder / "scan.nii")
    raw = nib.Nifti1Image(((truth.values + 1100) / 0.5).reshape(SHAPE).astype(np.int16), RAS_FROM_LPS @ affine)
    with open(folder / "scan.nii", "r+b") as stream:  # nibabel rescales on writing; the raw values are put back
        stream.seek(352)
        stream.write(np.asarray(raw.dataobj).tobytes(order="F"))
        stream.seek(112)
        stream.write(np.array([0.5, -1100], "<f4").tobytes())
    return Written(folder / "scan.nii", (truth,))


def _four_d(folder: Path) -> Written:
    affine, truth = grid(_RAS)
    other = truth.values * 2 + 7
    data = np.stack([truth.values.reshape(SHAPE), other.reshape(SHAPE)], axis=-1).astype(np.int16)
    nib.Nifti1Image(data, RAS_FROM_LPS @ affine).to_filename(folder / "scan.nii.gz")
    return Written(folder / "scan.nii.gz", (truth, Truth(truth.points, other, 0.6)))


def _conflict(image: nib.Nifti1Image) -> None:
    flipped = image.affine @ np.diag([-1.0, 1, 1, 1])
    image.set_qform(flipped, 1)


def _no_codes(image: nib.Nifti1Image) -> None:
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)


def _qform_only(image: nib.Nifti1Image) -> None:
    image.header.set_sform(None, 0)


def _sform_only(image: nib.Nifti1Image) -> None:
    image.header.set_qform(None, 0)


def _micrometres(image: nib.Nifti1Image) -> None:
    scaled = np.diag([1000.0, 1000, 1000, 1]) @ image.affine
    image.set_sform(scaled, 1)
    image.set_qform(scaled, 1)
    image.header.set_xyzt_units("micron")


def _no_codes_at_all(folder: Path) -> Written:
    """Built by hand, since nibabel sets codes of its own on writing."""
    written = _nifti(_RAS, "scan.nii", readable=False)(folder)
    with open(written.path, "r+b") as stream:
        stream.seek(252)
        stream.write(bytes(4))
    return written


def _truncated(name: str, keep: float) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        path = _nifti(_RAS, name)(folder).path
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return Written(path)

    return write


def _wrong_dimension(folder: Path) -> Written:
    path = _nifti(_RAS, "scan.nii")(folder).path
    data = bytearray(path.read_bytes())
    data[42:44] = (2000).to_bytes(2, "little")
    (folder / "scan.nii.gz").write_bytes(gzip.compress(bytes(data)))
    path.unlink()
    return Written(folder / "scan.nii.gz")


def _not_nifti(folder: Path) -> Written:
    (folder / "scan.nii.gz").write_bytes(gzip.compress(b"hello" * 400))
    return Written(folder / "scan.nii.gz")


def _complex(folder: Path) -> Written:
    affine, truth = grid(_RAS)
    nib.Nifti1Image(truth.values.reshape(SHAPE).astype(np.complex64), RAS_FROM_LPS @ affine).to_filename(
        folder / "c.nii"
    )
    return Written(folder / "c.nii")


def _itk(name: str, compress: bool) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        affine, truth = grid(_OBLIQUE)
        image = sitk.GetImageFromArray(truth.values.reshape(SHAPE).transpose(2, 1, 0).astype(np.int16))
        image.SetSpacing((1.5, 1.25, 2.5))
        image.SetDirection(_OBLIQUE.ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        sitk.WriteImage(image, str(folder / name), compress)
        return Written(folder / name, (truth,))

    return write


def _nrrd_without_space(folder: Path) -> Written:
    path = _itk("scan.nrrd", False)(folder).path
    data = path.read_bytes()
    lines = [line for line in data.split(b"\n\n", 1)[0].split(b"\n") if not line.startswith(b"space")]
    lines.insert(-1, b"spacings: 1.5 1.25 2.5")
    path.write_bytes(b"\n".join(lines) + b"\n\n" + data.split(b"\n\n", 1)[1])
    return Written(path)


def _cut_mha(folder: Path) -> Written:
    path = _itk("scan.mha", False)(folder).path
    path.write_bytes(path.read_bytes()[:-3000])
    return Written(path)


CASES = [
    Case("NIfTI, data in RAS order", _nifti(_RAS)),
    Case("NIfTI, data in LPS order", _nifti(_LPS)),
    Case("NIfTI, left-handed, axes swapped", _nifti(_SAR)),
    Case("NIfTI, oblique, float64", _nifti(_OBLIQUE, "scan.nii", np.float64)),
    Case("NIfTI, float32", _nifti(_RAS, dtype=np.float32)),
    Case("NIfTI, scl_slope and scl_inter", _scaled),
    Case("NIfTI, qform only", _nifti(_OBLIQUE, edit=_qform_only)),
    Case("NIfTI, sform only", _nifti(_OBLIQUE, edit=_sform_only)),
    Case("NIfTI, sform and qform disagree", _nifti(_RAS, edit=_conflict, readable=False), "orientation-conflict"),
    Case("NIfTI, neither sform nor qform", _no_codes_at_all, "no-orientation"),
    Case("NIfTI, micrometres", _nifti(_RAS, edit=_micrometres), note="not in mm"),
    Case("NIfTI, 4-D", _four_d, "several-phases", {"phase": 2}, 1),
    Case("NIfTI, cut short, .nii.gz", _truncated("scan.nii.gz", 0.6), "truncated-file"),
    Case("NIfTI, cut short, .nii", _truncated("scan.nii", 0.6), "truncated-file"),
    Case("NIfTI, header claims more than there is", _wrong_dimension, "truncated-file"),
    Case("NIfTI by name only", _not_nifti, "damaged-file"),
    Case("NIfTI, complex values", _complex, "pixel-type"),
    Case("NRRD, oblique", _itk("scan.nrrd", False)),
    Case("NRRD, compressed", _itk("scan.nrrd", True)),
    Case("NRRD without space", _nrrd_without_space, "no-orientation"),
    Case("MHA, oblique", _itk("scan.mha", False)),
    Case("MHA, compressed", _itk("scan.mha", True)),
    Case("MHA, cut short", _cut_mha, "truncated-file"),
]
