"""The folder that ``tips-med export --to onnx`` wrote, and scans from NIfTI files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tips_med_runtime.errors import ConfigError, ReadError, WeightsError
from tips_med_runtime.geometry import axis_directions, lps_affine_kji
from tips_med_runtime.scan import Provenance, Scan

FORMAT = "tips_med-onnx-1"
DESCRIPTION = "model.json"
MAX_SHEAR = 1e-3
"""Cosine between two axes of a scan beyond which they are not taken for perpendicular."""


def read_description(folder: Path) -> dict[str, Any]:
    """What ``model.json`` of a folder says, once each of its graphs is as it was written.

    Raises:
        WeightsError: ``missing-weights``, ``format``, or ``other-model`` for a graph that was changed.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise WeightsError(
            f"holds no {DESCRIPTION}",
            path=folder,
            expected="a folder that tips-med export --to onnx wrote",
            code="missing-weights",
        )
    try:
        told: dict[str, Any] = json.loads(file.read_text("utf-8"))
        found = told["format"]
        graphs = [told["graphs"], *(one["graphs"] for one in told["adapters"])]
        files = [(one["file"], one["sha256"]) for listed in graphs for one in listed.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError("is not the description of an exported model", path=file, code="format") from error
    if found != FORMAT:
        raise WeightsError(
            f"a model of format {found!r}",
            path=file,
            expected=repr(FORMAT),
            remedy="export it again with --to onnx, by a version of tips_med that goes with this runtime",
            code="format",
        )
    for name, sha256 in files:
        graph = folder / name
        if not graph.resolve().is_relative_to(folder.resolve()) or not graph.is_file():
            raise WeightsError("no such file", path=graph, remedy="keep the folder together", code="missing-weights")
        if hashlib.sha256(graph.read_bytes()).hexdigest() != sha256:
            raise WeightsError(
                "is not the graph that was exported",
                path=graph,
                expected=f"sha256 {sha256[:12]}",
                remedy="keep the folder together as it was written",
                code="other-model",
            )
    return told


def read_nifti(path: str | Path, modality: str = "OT") -> Scan:
    """A scan from a NIfTI file, by nibabel.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file of one volume in mm.
        modality: ``CT`` states that it is CT in Hounsfield units, which no file does; ``OT`` leaves it to its values.

    Raises:
        ReadError: It cannot be read without guessing.
        ConfigError: nibabel is not installed.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ModuleNotFoundError as error:
        raise ConfigError(
            "NIfTI files need nibabel, which is not installed", remedy="run: pip install nibabel", code="missing-extra"
        ) from error
    path = Path(path)
    try:
        image = nibabel.load(path)  # pyright: ignore[reportPrivateImportUsage]
        if not isinstance(image, nibabel.Nifti1Image):  # pyright: ignore[reportPrivateImportUsage]
            raise ReadError("is no NIfTI file", path=path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise ReadError(f"cannot be read ({error})", path=path) from error
    header = image.header
    if values.ndim != 3 or not (header["sform_code"] > 0 or header["qform_code"] > 0):  # pyright: ignore
        found = f"{values.ndim} axes" if values.ndim != 3 else "no orientation"
        raise ReadError(f"has {found}", path=path, expected="one volume with a sform or a qform")
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise ReadError(f"is in {unit}", path=path, expected="mm")
    lps_from_kji = lps_affine_kji(np.asarray(image.affine, np.float64))
    voxels = np.ascontiguousarray(values.T)
    voxels[~np.isfinite(voxels)] = np.nan
    return checked(Scan(voxels, lps_from_kji, modality, "HU" if modality == "CT" else "", Provenance("nifti")), path)


def checked(scan: Scan, path: Path | None = None) -> Scan:
    """The scan, if its axes are perpendicular.

    Raises:
        ReadError: ``shear``.
    """
    directions = axis_directions(scan.lps_from_kji)
    if np.abs(directions.T @ directions - np.eye(3)).max() > MAX_SHEAR:
        raise ReadError(
            "its axes are not perpendicular",
            path=path,
            expected="a grid without shear",
            remedy="straighten it first, as tips_med's reader does with --untilt",
            code="shear",
        )
    return scan
