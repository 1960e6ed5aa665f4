"""Lungs of nobody, as small masks in the layout of Med-MPD's shapes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

STEP_MM = 4.0
"""Spacing of the masks."""


def _tube(at: tuple[np.ndarray, ...], start: tuple[float, ...], end: tuple[float, ...], radius: float) -> np.ndarray:
    a, d = np.asarray(start), np.asarray(end) - np.asarray(start)
    t = np.clip(sum((axis - o) * e for axis, o, e in zip(at, a, d)) / (d @ d), 0, 1)
    return np.sum([(axis - o - t * e) ** 2 for axis, o, e in zip(at, a, d)], axis=0) <= radius**2


def write_lung_shape(folder: Path, *, left_is_smaller: bool = True) -> Path:
    """Writes two lungs with a trachea that forks, vessels and a fissure each; the left one is the smaller, as usual.

    The masks run to the patient's right, front and head, as those of Med-MPD do, and the fissures' grid is cut to size.
    """
    folder.mkdir(parents=True)
    x, y, z = np.meshgrid(*(np.arange(-half, half + 1, STEP_MM) for half in (130, 90, 120)), indexing="ij")  # LPS
    small, large = (48.0, 60.0) if left_is_smaller else (60.0, 48.0)
    outline = np.zeros(x.shape, bool)
    for side, half in ((1, small), (-1, large)):
        outline |= ((x - side * 66) / half) ** 2 + (y / 78) ** 2 + (np.minimum(z + 60, 0) / 40) ** 2 + (
            np.maximum(z + 60, 0) / 165
        ) ** 2 <= 1
    fork, at = (0.0, 0.0, 30.0), (x, y, z)
    airways = _tube(at, (0, 0, 118), fork, 9)
    vessels = np.zeros(x.shape, bool)
    for side in (1, -1):
        airways |= _tube(at, fork, (side * 70, 10, -10), 6)
        for end in ((95, 30, -50), (60, -45, 10), (70, 40, 40), (80, -20, -40)):
            vessels |= _tube(at, (side * 35, 5, 0), (side * end[0], end[1], end[2]), 5)
    vessels &= outline & ~airways
    fissures = outline & (np.abs(z + y + 10) < STEP_MM)
    first_mm = np.array([-130.0, -90.0, -120.0])
    parts = {"pleuralBoundary": outline, "bronchialTree": airways, "vessels": vessels, "fissures": fissures}
    for name, mask in parts.items():
        first = 3 if name == "fissures" else 0  # a part of the grid
        kept = mask[first:, first:, first:].astype(np.int16)[::-1, ::-1]
        # The first voxel is now the one that lies farthest to the left and to the back.
        last_mm = first_mm + STEP_MM * (np.array(mask.shape) - 1)
        ras = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
        ras[:3, 3] = -last_mm[0], -last_mm[1], first_mm[2] + first * STEP_MM
        nib.save(nib.Nifti1Image(kept, ras), folder / f"{name}.nii.gz")
    return folder
