"""The voxels of a study as a file for viewers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tips_med.exporters.nifti import write_volume
from tips_med.folders import whole_file
from tips_med.server.studies import Studies

NAME = "scan.nii.gz"


def scan_file(studies: Studies, study: str) -> Path:
    """The voxels on the scan's own grid, written at the first call.

    Values are rounded to int16, as viewers expect of CT; what was not measured has the lowest value of the scan.

    Raises:
        RequestError: ``not-found``, ``not-ready``.
    """
    scan = studies.live(study).study.scan
    path = studies.folder(study) / NAME
    if not path.is_file():
        stored = np.empty(scan.shape, np.int16)
        lowest = float(np.nanmin(scan.voxels)) if np.isfinite(scan.voxels).any() else 0.0
        for plane, target in zip(scan.voxels, stored):
            target[:] = np.clip(np.rint(np.where(np.isnan(plane), lowest, plane)), -32768, 32767)
        with whole_file(path) as partial:
            named = partial.with_name(partial.name + ".nii.gz")
            write_volume(stored, scan.lps_from_kji, named, "tips_med scan").replace(partial)
    return path
