"""Scans as layers: by tips_med's strict reader, or by the server where tips_med is not installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tips_med_client import Client, Volume

from napari_tips_med.placing import KEY, scan_layer

LayerData = tuple[np.ndarray, dict[str, Any], str]
LUNG_WINDOW = (-1350.0, 150.0)
"""The values, in HU, that are shown black and white at first."""

_LOOKED_AT = 50
"""Files of a folder that are looked at to see whether it holds DICOM."""


class NotInstalledError(ImportError):
    """tips_med, which has the reader and the sample, is not installed."""


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """Whether this plugin reads a path: a NIfTI file, a DICOM file, or a folder with DICOM files; napari asks this."""
    if not isinstance(path, str):
        return None
    at = Path(path)
    if at.is_dir():
        return read if any(map(_is_dicom, islice(_files(at), _LOOKED_AT))) else None
    return read if path.lower().endswith((".nii", ".nii.gz")) or _is_dicom(at) else None


def read(path: str) -> list[LayerData]:
    """The scan as an image layer.

    Args:
        path: NIfTI file, DICOM file, or folder with one series.

    Raises:
        NotInstalledError: tips_med is not installed.
        tips_med.errors.ReadError: It cannot be read without guessing.
    """
    try:
        from tips_med.readers import read_scan
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    scan = read_scan(path)
    limits = LUNG_WINDOW if scan.unit == "HU" else _percentiles(scan.voxels)
    return [scan_layer(Volume(scan.voxels, scan.lps_from_kji), _name(path), limits, scan.modality)]


def sample() -> list[LayerData]:
    """The scan that is bundled with tips_med, of a patient with a mass in the left lung.

    Raises:
        NotInstalledError: tips_med is not installed.
    """
    try:
        from tips_med.sample import sample_path
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    ((voxels, options, kind),) = read(str(sample_path()))
    options["contrast_limits"] = LUNG_WINDOW
    options["metadata"][KEY]["modality"] = "CT"  # which a NIfTI file cannot state
    return [(voxels, options, kind)]


def read_by_server(client: Client, path: str, progress: Callable[[int, int], Any] | None = None) -> LayerData:
    """The scan as the server reads it, which has it encoded then.

    Args:
        client: The server.
        path: NIfTI file, DICOM file, or folder with one series.
        progress: Called with (slabs done, slabs in all).

    Raises:
        tips_med_client.ServerError: It cannot be read without guessing, or not be sent.
    """
    study = client.upload(path)
    about = client.wait(study, progress)
    volume = client.scan(study)
    limits = LUNG_WINDOW if about.get("unit") == "HU" else _percentiles(volume.voxels)
    return scan_layer(volume, _name(path), limits, about.get("modality"), study)


def _files(folder: Path) -> Any:
    return (one for one in folder.rglob("*") if one.is_file())


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _name(path: str) -> str:
    """Of the layer: that of the file alone."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii") or "scan"


def _percentiles(voxels: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(voxels[:: max(1, len(voxels) // 32), ::4, ::4], [1, 99])
    return float(low), float(max(high, low + 1e-6))


def _not_installed(error: ModuleNotFoundError) -> NotInstalledError:
    if error.name not in ("tips_med", "tips_med.readers", "tips_med.sample"):
        raise error
    return NotInstalledError(
        "napari-tips-med reads scans with the strict reader of tips_med, which is not installed here. Run: pip install "
        "tips_med, or use 'Open by the server...' in its widget."
    )
