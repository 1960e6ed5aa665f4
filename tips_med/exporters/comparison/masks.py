"""The compared findings as label maps, numbered by change."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tips_med.exporters.nifti import write_volume
from tips_med.followup import Comparison
from tips_med.geometry import index_from_crop, transform_points
from tips_med.shapes import Labels

MARGIN_MM = 15.0
"""How far around a moved finding its mask is sought."""

_POINTS = 500


def write_masks(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Writes three label maps, whose values are the numbers of the changes.

    ``prior.nii.gz`` is on the prior scan's grid, ``current.nii.gz`` on the current one's, and
    ``prior_on_current.nii.gz`` shows the prior's findings, moved by the registration, on the current scan's grid.
    """
    prior, current = comparison.prior.scan, comparison.current.scan
    before, now = numbered(comparison)
    return (
        write_volume(before, prior.lps_from_kji, folder / "prior.nii.gz", "tips_med prior", intent="label"),
        write_volume(now, current.lps_from_kji, folder / "current.nii.gz", "tips_med current", intent="label"),
        write_volume(
            prior_on_current(comparison),
            current.lps_from_kji,
            folder / "prior_on_current.nii.gz",
            "tips_med prior, moved",
            intent="label",
        ),
    )


def numbered(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """The findings of the prior and of the current scan, each on its own grid [k j i], by number of the change."""
    maps = []
    for answer, which in ((comparison.prior, "prior"), (comparison.current, "current")):
        numbers = np.zeros(256, np.uint8)
        for change in comparison.changes:
            for instance in getattr(change, which):
                numbers[instance.label] = change.number
        maps.append(numbers[answer.labels])
    return maps[0], maps[1]


def prior_on_current(comparison: Comparison) -> Labels:
    """The prior's findings on the current scan's grid, moved, by number of the change."""
    prior, current = comparison.prior.scan, comparison.current.scan
    before, _ = numbered(comparison)
    moved = np.zeros(current.shape, np.uint8)
    index_from_lps = np.linalg.inv(current.lps_from_kji)
    for number in np.unique(before[before > 0]):
        voxels = np.argwhere(before == number)
        points = transform_points(prior.lps_from_kji, voxels[:: max(1, len(voxels) // _POINTS)])
        index = transform_points(index_from_lps, comparison.registration.points_in_current(points))
        reach = MARGIN_MM / np.array(current.spacing_mm)
        low = np.clip(np.floor(index.min(axis=0) - reach), 0, current.shape).astype(int)
        high = np.clip(np.ceil(index.max(axis=0) + reach) + 1, 0, current.shape).astype(int)
        if (low >= high).any():
            continue  # beyond the current scan
        k, j, i = (int(n) for n in high - low)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        affine = current.lps_from_kji @ index_from_crop((int(low[0]), int(low[1]), int(low[2])))
        mask = (before == number).astype(np.uint8)
        here = comparison.registration.warp(mask, prior.lps_from_kji, affine, (k, j, i), linear=False)
        moved[box][here > 0] = number
    return moved
