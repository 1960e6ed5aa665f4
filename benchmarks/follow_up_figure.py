"""Makes the picture of docs/follow-up.md, from the bundled scan alone: ``python -m benchmarks.follow_up_figure``.

The prior scan is the bundled one with a painted nodule; in the current one the nodule has almost four times the volume,
another one is new, and the patient has moved by a known deformation, on another grid and with other noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from scipy import ndimage

from benchmarks.follow_up import NOISE_HU, errors_mm, other_grid
from tips_med.exporters.comparison.figure import write_comparison_figure
from tips_med.followup import compare, register
from tips_med.grounding import encode
from tips_med.loading import open_model
from tips_med.readers import read_scan
from tips_med.sample import sample_path
from tips_med.scan import Scan
from tips_med.synthesis.findings import Canvas
from tips_med.synthesis.growth import paint_lesion
from tips_med.synthesis.motion import Motion, move, sample_motion

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "follow-up.png"


@dataclass(frozen=True)
class TwoDays:
    """The bundled scan on two days that never were.

    Attributes:
        prior: Scan with a painted nodule.
        current: Scan in which it has grown, another one is new, and the patient has moved.
        motion: Where places of the current scan lie in the prior one.
    """

    prior: Scan
    current: Scan
    motion: sitk.Transform


def two_days() -> TwoDays:
    """Paints and moves the bundled scan; the same each time."""
    scan = replace(read_scan(sample_path()), modality="CT", unit="HU")
    air = ndimage.binary_opening(np.nan_to_num(scan.voxels, nan=0) < -500, iterations=2)
    parts, _ = ndimage.label(air)
    outside = np.unique(np.concatenate([parts[:, 0].ravel(), parts[:, -1].ravel(), parts[:, :, [0, -1]].ravel()]))
    lungs = (air & ~np.isin(parts, outside)).astype(np.uint8)
    deep = ndimage.distance_transform_edt(lungs, scan.spacing_mm)
    rng = np.random.default_rng(6)
    places = [np.argwhere((deep > 16) & _half(scan.shape, side)) for side in (0, 1)]
    centres = [place[rng.integers(len(place))] for place in places]
    volumes = [np.nan_to_num(scan.voxels, nan=-1024).astype(np.float32) for _ in range(2)]
    for volume, diameters in zip(volumes, ((14.0, 0.0), (22.0, 16.0))):
        for n, (centre, diameter) in enumerate(zip(centres, diameters)):
            if diameter:
                canvas = Canvas(volume, lungs, scan.spacing_mm, np.random.default_rng(n), np.zeros(scan.shape, bool))
                mask = paint_lesion(canvas, centre, diameter)
                print(f"painted {n}: {mask.sum() * np.prod(scan.spacing_mm) / 1000:.2f} ml")
    motion = sample_motion(scan, Motion(), rng)
    affine, shape = other_grid(scan, 0)
    moved = move(volumes[1], scan.lps_from_kji, motion, affine, shape)
    grain = ndimage.gaussian_filter(rng.normal(size=shape), (0, 0.7, 0.7)).astype(np.float32)
    moved = moved + np.float32(NOISE_HU) * grain / grain.std()
    prior, current = (
        replace(scan, voxels=voxels, lps_from_kji=lps_from_kji)
        for voxels, lps_from_kji in ((volumes[0], scan.lps_from_kji), (moved, affine))
    )
    return TwoDays(prior, current, motion)


def main() -> None:
    model = open_model(None)
    days = two_days()
    prior, current = (encode(scan, model) for scan in (days.prior, days.current))
    registration = register(prior, current, model)
    made = compare(prior, current, "nodule", model, registration)
    print(made.sentence)
    print(errors_mm(registration, days.motion, current, model))
    write_comparison_figure(made, PICTURE)
    with Image.open(PICTURE) as picture:
        picture.convert("RGB").quantize(256).save(PICTURE, optimize=True)


def _half(shape: tuple[int, int, int], side: int) -> np.ndarray:
    """One half of the columns of a grid."""
    half = np.zeros(shape, bool)
    middle = shape[2] // 2
    half[:, :, slice(middle, None) if side else slice(None, middle)] = True
    return half


if __name__ == "__main__":
    main()
