"""Masks of the heart on public scans, made of outlines that were drawn by eye on a few axial levels.

    python -m benchmarks.organs.heart DATA --out OUT [--cases CASE ...] [--outlines FILE]

DATA holds the cases that ``heart_outlines.json`` names: of each ``ct.nii.gz`` or a folder ``dicom``, and where they are
there ``organs.nii.gz`` (numbers in DATA/organs.json) and ``lungs.nii.gz``. Writes OUT/CASE/heart.nii.gz.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask

from tips_med.errors import ConfigError, ReadError
from tips_med.geometry import (
    grid_corners,
    ras_affine_ijk,
    same_grid,
    spacing_mm,
    transform_points,
    voxel_volume_mm3,
)
from tips_med.readers import read_scan
from tips_med.scan import Scan

OUTLINES = Path(__file__).with_name("heart_outlines.json")

NOT_HEART = ("spine", "liver", "stomach", "spleen")
"""Organs of ``organs.nii.gz`` that are cut out. Ribs and descending aorta are not: both labels leak into the left
atrium of QIN-LUNG-01-0007, and the outlines keep clear of them."""

AIR_HU = -300.0
"""Smoothed voxels below it are lung: about the middle between lung and the heart's edge."""

AIR_SIGMA_MM = 1.0

RASTER_MM = 0.5
"""Pixel of the plane in which the distance to an outline is measured."""

CURVE_POINTS = 8
"""Points of the curve between two vertices."""


@dataclass(frozen=True)
class Level:
    """The outline on one axial plane.

    Attributes:
        z: Height of the plane, LPS mm.
        parts: Closed outlines, each [n, 2] of (x, y) in LPS mm; the heart is inside any of them.
    """

    z: float
    parts: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Outlines:
    """The outlines of one heart.

    Attributes:
        first_z: Height of its lowest point, LPS mm. Where the scan ends within the heart, a point beyond the scan.
        last_z: Height of its highest point.
        levels: Outlines from low to high, between the two.
        use: ``train`` or ``test``.
        note: What is uncertain.
    """

    first_z: float
    last_z: float
    levels: tuple[Level, ...]
    use: str
    note: str


def read_outlines(path: Path = OUTLINES) -> dict[str, Outlines]:
    """The outlines by case.

    Raises:
        ConfigError: A case has no level, its levels do not rise from ``first_z`` to ``last_z``, or an outline has
            fewer than three vertices.
    """
    return {case: _parse(case, one) for case, one in json.loads(path.read_text())["cases"].items()}


def _parse(case: str, one: dict[str, Any]) -> Outlines:
    levels = tuple(Level(level["z"], tuple(np.array(p, float) for p in level["parts"])) for level in one["levels"])
    heights = [one["first_z"], *(level.z for level in levels), one["last_z"]]
    if not levels or np.any(np.diff(heights) <= 0):
        raise ConfigError(f"{case}: heights {heights} mm", expected="a rise from first_z over the levels to last_z")
    for level in levels:
        if not level.parts or any(part.ndim != 2 or part.shape[1] != 2 or len(part) < 3 for part in level.parts):
            raise ConfigError(f"{case}, level {level.z} mm", expected="outlines of three or more vertices of x and y")
    return Outlines(one["first_z"], one["last_z"], levels, one["use"], one["note"])


def smooth_curve(vertices: np.ndarray) -> np.ndarray:
    """A closed curve through every vertex.

    The centripetal Catmull-Rom spline (Catmull and Rom 1974; Yuksel, Schaefer and Keyser 2011), which makes no loop.
    Straight edges between vertices on a round border would leave out one or two percent of the area.

    Args:
        vertices: [n, 2], each unlike its neighbours.

    Returns:
        [n x CURVE_POINTS, 2].
    """
    before, start, end, after = (np.roll(vertices, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))

    def knot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.linalg.norm(b - a, axis=-1, keepdims=True))

    t1 = knot(before, start)
    t2 = t1 + knot(start, end)
    t3 = t2 + knot(end, after)
    t = t1 + (t2 - t1) * (np.arange(CURVE_POINTS) / CURVE_POINTS)[None, :, None]
    a1 = (t1 - t) / t1 * before + t / t1 * start
    a2 = (t2 - t) / (t2 - t1) * start + (t - t1) / (t2 - t1) * end
    a3 = (t3 - t) / (t3 - t2) * end + (t - t2) / (t3 - t2) * after
    b1 = (t2 - t) / t2 * a1 + t / t2 * a2
    b2 = (t3 - t) / (t3 - t1) * a2 + (t - t1) / (t3 - t1) * a3
    return ((t2 - t) / (t2 - t1) * b1 + (t - t1) / (t2 - t1) * b2).reshape(-1, 2)


def _depth(inside: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(inside))


def _distances(outlines: Outlines, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Signed distance to the outline of each level in mm, above 0 inside, [level, x, y] on the raster from ``low``."""
    planes = []
    for level in outlines.levels:
        curves = [(smooth_curve(part) - low) / RASTER_MM for part in level.parts]
        inside = np.any([polygon2mask(shape, curve) for curve in curves], axis=0)
        planes.append(_depth(inside) - _depth(~inside))
    return np.stack(planes) * RASTER_MM


def heart_mask(scan: Scan, outlines: Outlines) -> np.ndarray:
    """The voxels within the outlines, of a scan at any angle.

    Between two levels the signed distances to their outlines are interpolated linearly (shape-based interpolation,
    Raya and Udupa, IEEE TMI 1990); from the outermost levels to ``first_z`` and ``last_z`` the outline shrinks as a
    section of an ellipsoid does.

    Args:
        scan: The scan; only its grid is used.
        outlines: The outlines, in LPS mm as the scan is.

    Returns:
        bool [k j i].

    Raises:
        ConfigError: No voxel is within the outlines: they belong to another scan.
    """
    points = np.concatenate([part for level in outlines.levels for part in level.parts])
    low, high = points.min(axis=0) - 10.0, points.max(axis=0) + 10.0
    columns, rows = np.ceil((high - low) / RASTER_MM).astype(int) + 1
    distances = _distances(outlines, low, (int(columns), int(rows)))
    heights = np.array([level.z for level in outlines.levels])
    deepest = distances.max(axis=(1, 2))
    mask = np.zeros(scan.shape, bool)
    plane = np.stack(np.meshgrid(*map(np.arange, scan.shape[1:]), indexing="ij"), axis=-1).reshape(-1, 2)
    for k in range(scan.shape[0]):
        at = transform_points(scan.lps_from_kji, np.column_stack([np.full(len(plane), k), plane]))
        near = ((at[:, :2] > low) & (at[:, :2] < high)).all(axis=1)
        near &= (at[:, 2] > outlines.first_z) & (at[:, 2] < outlines.last_z)
        if not near.any():
            continue
        x, y, z = at[near].T
        level = np.interp(z, heights, np.arange(len(heights)))
        where = np.stack([level, (x - low[0]) / RASTER_MM, (y - low[1]) / RASTER_MM])
        distance = ndimage.map_coordinates(distances, where, order=1, mode="nearest")
        below = np.clip((heights[0] - z) / (heights[0] - outlines.first_z), 0, 1)
        above = np.clip((z - heights[-1]) / (outlines.last_z - heights[-1]), 0, 1)
        distance -= deepest[0] * (1 - np.sqrt(1 - below**2)) + deepest[-1] * (1 - np.sqrt(1 - above**2))
        mask[k].reshape(-1)[near] = distance > 0
    if not mask.any():
        corners = grid_corners(scan.lps_from_kji, scan.shape)
        raise ConfigError(
            f"the scan reaches from {corners.min(axis=0).round()} to {corners.max(axis=0).round()} mm (LPS)",
            expected=f"some of it within the outlines, x and y {low.round()} to {high.round()} mm, z "
            f"{outlines.first_z} to {outlines.last_z} mm",
            remedy="give the outlines of this scan",
        )
    return mask


def cut_out(mask: np.ndarray, scan: Scan, others: np.ndarray | None) -> np.ndarray:
    """The mask without lung and other organs, without holes and pieces of less than a hundredth.

    Args:
        mask: bool [k j i].
        scan: Its scan, in HU.
        others: bool [k j i], what is no heart; None where nothing is known.

    Returns:
        bool [k j i].
    """
    smooth = ndimage.gaussian_filter(
        np.nan_to_num(scan.voxels, nan=-1024.0), AIR_SIGMA_MM / spacing_mm(scan.lps_from_kji)
    )
    left = mask & (smooth > AIR_HU)
    if others is not None:
        left &= ~others
    named, count = ndimage.label(left)  # pyright: ignore[reportGeneralTypeIssues]
    if count > 1:
        sizes = np.bincount(named.reshape(-1))[1:]
        left = np.isin(named, 1 + np.flatnonzero(sizes > 0.01 * sizes.sum()))
    return ndimage.binary_fill_holes(left) & mask if left.any() else left


def _read_labels(path: Path, scan: Scan) -> np.ndarray:
    labels = read_scan(path)
    if labels.shape != scan.shape or not same_grid(labels.lps_from_kji, scan.lps_from_kji, scan.shape, 0.5):
        raise ReadError(
            f"labels of shape {labels.shape}",
            path=path,
            expected=f"the grid of the scan, {scan.shape}",
            remedy="resample the labels onto it",
        )
    return np.nan_to_num(labels.voxels).round().astype(np.uint8)


def read_case(data: Path, case: str) -> tuple[Scan, np.ndarray]:
    """The scan of a case, and bool [k j i] what other labels say is no heart."""
    folder = data / case
    image = folder / "ct.nii.gz"
    scan = read_scan(image if image.exists() else folder / "dicom")
    others = np.zeros(scan.shape, bool)
    if (folder / "organs.nii.gz").exists():
        numbers = json.loads((data / "organs.json").read_text())
        others |= np.isin(_read_labels(folder / "organs.nii.gz", scan), [numbers[name] for name in NOT_HEART])
    if (folder / "lungs.nii.gz").exists():
        # The lungs were closed by a rule and reach into the heart's edge here and there: only what is not dense counts.
        others |= (_read_labels(folder / "lungs.nii.gz", scan) > 0) & (scan.voxels < -150)
    return scan, others


def write_mask(mask: np.ndarray, scan: Scan, path: Path) -> None:
    """Writes a mask [k j i] as NIfTI on the grid of its scan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), ras_affine_ijk(scan.lps_from_kji))
    nib.save(image, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", help="all where none is named")
    parser.add_argument("--outlines", type=Path, default=OUTLINES)
    chosen = parser.parse_args(arguments)
    drawn = read_outlines(chosen.outlines)
    for case in chosen.cases or drawn:
        scan, others = read_case(chosen.data, case)
        mask = cut_out(heart_mask(scan, drawn[case]), scan, others)
        write_mask(mask, scan, chosen.out / case / "heart.nii.gz")
        volume = mask.sum() * voxel_volume_mm3(scan.lps_from_kji) / 1000
        print(f"{case:26} {drawn[case].use:6} {volume:5.0f} ml")


if __name__ == "__main__":
    main()
