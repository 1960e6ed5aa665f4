"""Pictures of marks: three planes through each, in a lung window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.nodules.measuring import FALSE
from tips_med.resampling import resample
from tips_med.scan import Scan

HALF_MM = 32.0
STEP_MM = 0.5


def draw_false_marks(scan: Scan, row: dict[str, Any], folder: Path, most: int = 4) -> None:
    """Writes a PNG of each of the surest false marks: axial, coronal, sagittal, 64 mm wide, the mark in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    false = [mark for mark in row["marks"] if mark[4] == FALSE][:most]
    for rank, (x, y, z, logit, _) in enumerate(false):
        name = f"{row['case']}-{rank}-{logit:+.1f}.png".replace(" ", "-")
        Image.fromarray(planes(scan, np.array([x, y, z]))).save(folder / name)


def planes(scan: Scan, place_lps: np.ndarray) -> np.ndarray:
    """Three planes through a place, uint8 [row column], side by side; head up, the patient's left on the right."""
    n = int(2 * HALF_MM / STEP_MM) + 1
    views = []
    # Rows and columns: to the back and to the left; to the feet and to the left; to the feet and to the back.
    for down, along in ((1, 0), (2, 0), (2, 1)):
        affine = np.zeros((4, 4))
        affine[({0, 1, 2} - {down, along}).pop(), 0] = 1
        affine[down, 1] = -STEP_MM if down == 2 else STEP_MM
        affine[along, 2] = STEP_MM
        affine[:3, 3] = place_lps - affine[:3, 1] * (n // 2) - affine[:3, 2] * (n // 2)
        affine[3, 3] = 1
        hu = resample(scan.voxels, scan.lps_from_kji, affine, (1, n, n))[0]
        grey = np.clip((np.nan_to_num(hu, nan=-1350) + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
        grey[n // 2, [n // 2 - 14, n // 2 - 13, n // 2 + 13, n // 2 + 14]] = 255
        views.append(np.pad(grey, 2, constant_values=255))
    return np.concatenate(views, axis=1)
