"""Makes the bundled scan from the public series it comes from."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from tips_med.geometry import ras_affine_ijk
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.slabs import SlabSpec, slabs_of, working_grid


def make_sample(
    scan: Path,
    out: Path,
    description: str = "QIN-LSC-0064, CC BY 3.0, resampled",
    spacing_mm: tuple[float, float, float] = (2.5, 1.5, 1.5),
    step_hu: int = 6,
) -> Path:
    """Resamples a series, cuts away the air around the body and rounds its values, so that it stays small.

    Args:
        scan: Path of the series.
        out: NIfTI file to write.
        description: Description in the file: case, licence, change.
        spacing_mm: Spacing of the result in mm: between slices, rows and columns.
        step_hu: Step in HU; values are rounded to its multiples.

    Returns:
        The path written.
    """
    source = read_scan(scan)
    spec = SlabSpec(spacing_mm=spacing_mm)
    affine, shape = working_grid(source, spec)
    volume = resample(source.voxels, source.lps_from_kji, affine, shape)
    slabs = slabs_of(volume, affine, spec, margin=4)
    start = np.rint((slabs.lps_from_pixel[:3, 3] - affine[:3, 3])[[1, 0]] / spacing_mm[1:]).astype(int)
    rows, columns = slabs.seen.shape[-2:]
    cut = np.nan_to_num(volume, nan=-1024)[:, start[0] : start[0] + rows, start[1] : start[1] + columns]
    rounded = (np.rint(cut / step_hu) * step_hu).clip(-1024, 3071).astype(np.int16)
    image = nib.Nifti1Image(rounded.transpose(2, 1, 0), ras_affine_ijk(slabs.lps_from_pixel))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.header["descrip"] = description.encode()[:79]
    nib.save(image, out)
    return out
