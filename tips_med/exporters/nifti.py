"""Heat maps and masks as NIfTI, in the patient's place: RAS exists only here.

NIfTI-1 (https://nifti.nimh.nih.gov/nifti-1/) knows two placements. Viewers differ in which one they use, so both
are written, with the same content.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from tips_med.errors import OutputError
from tips_med.exporters.base import Exporter
from tips_med.geometry import axis_directions, ras_affine_ijk
from tips_med.grounding import Grounding
from tips_med.shapes import Affine

_SCANNER_ANATOMICAL = 1
"""NIFTI_XFORM_SCANNER_ANAT: millimetres in the scanner's frame, as in DICOM."""

_SHEAR_TOLERANCE = 1e-4
"""Cosine between two axes beyond which a grid is sheared and no quaternion can say where it is."""


class NiftiExporter(Exporter):
    """Writes ``heat.nii.gz`` and ``mask.nii.gz``, and ``labels.nii.gz`` where there is more than one instance."""

    def export(self, grounding: Grounding, folder: Path) -> tuple[Path, ...]:
        """Writes the volumes of one answer."""
        paths = [write_heat(grounding, folder / "heat.nii.gz"), write_mask(grounding, folder / "mask.nii.gz")]
        if len(grounding.instances) > 1:
            paths.append(write_labels(grounding, folder / "labels.nii.gz"))
        return tuple(paths)


def write_heat(grounding: Grounding, path: Path) -> Path:
    """Writes the map of probabilities: float32 on its own grid, NaN where the scan measured nothing.

    Readers made on ITK (SimpleITK, 3D Slicer, ITK-SNAP) show 0 for NaN, in any NIfTI file; nibabel keeps it.
    """
    return write_volume(
        grounding.heat.astype(np.float32), grounding.lps_from_heat, path, "tips_med heat", intent="estimate"
    )


def write_mask(grounding: Grounding, path: Path) -> Path:
    """Writes where the finding is: uint8, 1 inside, on the scan's own grid."""
    return write_volume(
        grounding.mask.astype(np.uint8), grounding.scan.lps_from_kji, path, "tips_med mask", intent="label"
    )


def write_labels(grounding: Grounding, path: Path) -> Path:
    """Writes the instances: uint8, ``Instance.label`` inside each, on the scan's own grid."""
    return write_volume(grounding.labels, grounding.scan.lps_from_kji, path, "tips_med instances", intent="label")


def write_volume(
    array: np.ndarray, lps_from_index: Affine, path: Path, description: str = "tips_med", *, intent: str = "none"
) -> Path:
    """Writes an array [k j i] at its place in the patient; the same input gives the same bytes.

    Args:
        array: Array [k j i] of the data type to store; vectors are [component 1 k j i].
        lps_from_index: Maps (k, j, i, 1) to LPS in mm.
        path: A ``.nii`` or ``.nii.gz`` file.
        description: Description in the header, at most 79 characters.
        intent: NIfTI intent of the values.

    Raises:
        OutputError: It cannot be written there.
    """
    array = np.ascontiguousarray(array)
    content = _header(array, lps_from_index, description, intent)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    try:
        if path.suffix == ".gz":
            with path.open("wb") as file, igzip.IGzipFile("", "wb", 1, file, 0) as packed:
                packed.write(content)
                for plane in little:
                    packed.write(plane.data)
        else:
            with path.open("wb") as file:
                file.write(content)
                file.write(little.data)
    except OSError as e:
        raise OutputError(f"cannot be written ({e.strerror or e})", path=path) from e
    return path


def volume_bytes(
    array: np.ndarray,
    lps_from_index: Affine,
    description: str = "tips_med",
    *,
    intent: str = "none",
    scale: tuple[float, float] = (1.0, 0.0),
) -> bytes:
    """The content of a ``.nii.gz`` file, for viewers that take it without a file; see ``write_volume``.

    Args:
        array: Array [k j i] of the data type to store.
        lps_from_index: Maps (k, j, i, 1) to LPS in mm.
        description: Description in the header, at most 79 characters.
        intent: NIfTI intent of the values.
        scale: Slope and intercept: a stored number times the slope, plus the intercept, is the value.
    """
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return igzip.compress(_header(array, lps_from_index, description, intent, scale) + little.tobytes(), 1)


def _header(
    array: np.ndarray,
    lps_from_index: Affine,
    description: str,
    intent: str,
    scale: tuple[float, float] = (1.0, 0.0),
) -> bytes:
    """All that stands in a file before the values of an array [k j i]."""
    ras_from_ijk = ras_affine_ijk(lps_from_index)
    # NIfTI stores the first index fastest: [k j i] as it is in memory is [i j k] as it is on disk.
    image = nib.Nifti1Image(array.T, ras_from_ijk, dtype=array.dtype)
    image.set_sform(ras_from_ijk, _SCANNER_ANATOMICAL)
    image.set_qform(ras_from_ijk, 0 if _is_sheared(lps_from_index) else _SCANNER_ANATOMICAL)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = description.encode()
    image.header.set_intent(intent)
    image.update_header()
    header = image.header.copy()
    header["vox_offset"] = header.single_vox_offset
    header.set_slope_inter(*scale)
    return header.binaryblock + bytes(header.single_vox_offset - len(header.binaryblock))


def _is_sheared(affine: Affine) -> bool:
    directions = axis_directions(affine)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_TOLERANCE)
