"""The scans that were held out, scanned as another scanner might have: what changes in lungs, mass and false answers.

python -m benchmarks.robustness DATA [--model WEIGHTS] [--out TABLE.json]

DATA holds the cases of ``radiology_configs/pretrain_chest_ct.yaml``; those that were held out are changed, where lungs
and lesions are outlined. Outlines go through the same change as the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.real_scans import labels, lesion, lungs, not_reported, run
from tips_med.grounding import encode
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.scan import Provenance, Scan

THICK_MM, NOISE_HU, OFFSET_HU, SHARPER, CUT, TURN_DEGREES = 5.0, 40.0, 25.0, 1.5, 0.12, 12.0

Case = tuple[Scan, np.ndarray, np.ndarray]
"""A scan, its lungs and its outlined lesions."""


def as_it_is(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    return scan, truth, outlined


def thick(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """Slices that are the mean of as many as make about 5 mm."""
    some = max(2, round(THICK_MM / scan.spacing_mm[0]))
    whole = len(scan.voxels) // some * some
    grouped = scan.voxels[:whole].reshape(-1, some, *scan.shape[1:])
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] += (some - 1) / 2 * affine[:3, 0]
    affine[:3, 0] *= some
    middle = slice(some // 2, whole, some)
    return changed(scan, grouped.mean(1), affine), truth[middle], outlined[middle]


def noisy(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """Noise with the grain of a soft kernel."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=scan.shape), (0, 0.7, 0.7))
    return changed(scan, scan.voxels + NOISE_HU * noise / noise.std()), truth, outlined


def sharp(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """A sharper kernel: edges and noise are raised."""
    soft = ndimage.gaussian_filter(scan.voxels, (0, 1, 1))
    return changed(scan, scan.voxels + SHARPER * (scan.voxels - soft)), truth, outlined


def offset(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """A scanner whose values are a little high."""
    return changed(scan, scan.voxels + OFFSET_HU), truth, outlined


def cut(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """A field of view that ends within the body on all sides."""
    body = np.argwhere((scan.voxels > -300).any(0))
    low, high = body.min(0), body.max(0) + 1
    y, x = (slice(a + round(CUT * (b - a)), b - round(CUT * (b - a))) for a, b in zip(low, high))
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] += affine[:3, 1] * y.start + affine[:3, 2] * x.start
    return changed(scan, scan.voxels[:, y, x], affine), truth[:, y, x], outlined[:, y, x]


def turned(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """A patient who lies a little on one side."""

    def turn(volume: np.ndarray, order: int, outside: float) -> np.ndarray:
        return ndimage.rotate(volume, TURN_DEGREES, (1, 2), reshape=False, order=order, cval=outside)

    return changed(scan, turn(scan.voxels, 1, -1024)), turn(truth, 0, 0), turn(outlined, 0, False)


def chest_only(scan: Scan, truth: np.ndarray, outlined: np.ndarray) -> Case:
    """The middle half of the lungs' slices, as in a scan of one region."""
    slices = np.flatnonzero(truth.any((1, 2)))
    quarter = len(slices) // 4
    k = slice(slices[quarter], slices[-quarter])
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] += affine[:3, 0] * k.start
    return changed(scan, scan.voxels[k], affine), truth[k], outlined[k]


def changed(scan: Scan, voxels: np.ndarray, affine: np.ndarray | None = None) -> Scan:
    affine = scan.lps_from_kji if affine is None else affine
    return replace(scan, voxels=voxels.astype(np.float32), lps_from_kji=affine, provenance=Provenance("array"))


WAYS: dict[str, Callable[[Scan, np.ndarray, np.ndarray], Case]] = {
    "as it is": as_it_is,
    f"slices of about {THICK_MM:.0f} mm": thick,
    f"noise of {NOISE_HU:.0f} HU": noisy,
    "a sharp kernel": sharp,
    f"values {OFFSET_HU:.0f} HU high": offset,
    f"{100 * CUT:.0f}% of the body cut off on each side": cut,
    f"turned by {TURN_DEGREES:.0f} degrees": turned,
    "the middle half of the lungs": chest_only,
}


def rows_of(data: Path, case: dict[str, Any], held_out: bool, model: GroundingModel) -> Iterator[dict[str, Any]]:
    if not held_out or not {"lungs", "votes"} <= set(case):
        return  # only the others have outlines of lungs and lesions
    scan = read_scan(data / case["scan"])
    truth = labels(data / case["lungs"])
    outlined = labels(data / case["votes"]) >= case["outlined_from"]
    for way, change in WAYS.items():
        other, lung, outline = change(scan, truth, outlined)
        study = encode(other, model)
        row: dict[str, Any] = {"case": case["name"], "scanned": way, **lungs(study, lung, model)}
        if outline.any():
            row |= lesion(study, outline, lung, model)
        yield row | not_reported(study, model)


if __name__ == "__main__":
    run(__doc__, rows_of)
