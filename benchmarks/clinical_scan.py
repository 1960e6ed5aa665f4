"""The bundled scan on the grid of a clinical series: 300 slices of 512 x 512."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from tips_med.geometry import ras_affine_ijk
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.sample import sample_path

SHAPE = (300, 512, 512)


def write_clinical_scan(path: Path, shape: tuple[int, int, int] = SHAPE) -> Path:
    """Writes the bundled scan on a finer grid of the same extent, as compressed NIfTI.

    Args:
        path: File to write, .nii.gz.
        shape: Slices, rows, columns.
    """
    scan = read_scan(sample_path())
    ratio = np.array(scan.shape) / shape
    affine = scan.lps_from_kji.copy()
    affine[:3, :3] = affine[:3, :3] * ratio
    affine[:3, 3] += scan.lps_from_kji[:3, :3] @ ((ratio - 1) / 2)  # the outer edges stay where they are
    voxels = resample(scan.voxels, scan.lps_from_kji, affine, shape)
    # What lies beyond the last centres is air, as around every body.
    image = nib.Nifti1Image(np.nan_to_num(voxels, nan=-1024).round().astype(np.int16).T, ras_affine_ijk(affine))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path
