# Copied from tips_med/grounding/instances.py by copies.py: change it there.
"""From a map to components with measurements, on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from tips_med_runtime.card import Calibration
from tips_med_runtime.geometry import (
    CONNECTIVITY_18,
    box_around,
    grid_corners,
    index_from_crop,
    spacing_mm,
    transform_points,
    voxel_volume_mm3,
)
from tips_med_runtime.grounding.answer import Instance
from tips_med_runtime.grounding.evidence import evidence_map, mean_filter
from tips_med_runtime.grounding.lobes import lobes_of_cells
from tips_med_runtime.grounding.thorax import Thorax, anatomical_label
from tips_med_runtime.resampling import resample, smoothing_mm
from tips_med_runtime.scan import Scan
from tips_med_runtime.shapes import Affine, Heat, Labels

MAX_INSTANCES = 50
"""Maximum number of components; those with the highest scores are kept."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """A part of a map in which components are, apart from all others.

    Attributes:
        heat: Probability, [slab y x], without NaN; 0 where other parts are.
        box: Its place in the map.
    """

    heat: Heat
    box: tuple[slice, slice, slice]

    def on_scan(self, lps_from_heat: Affine, scan: Scan) -> tuple[np.ndarray, tuple[int, int, int]]:
        """The interpolated map on the scan's grid, [k j i], and its first index there."""
        start = (self.box[0].start, self.box[1].start, self.box[2].start)
        lps_from_part = lps_from_heat @ index_from_crop(start)
        size = (self.heat.shape[0], self.heat.shape[1], self.heat.shape[2])
        index = transform_points(np.linalg.inv(scan.lps_from_kji), grid_corners(lps_from_part, size))
        first = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, np.array(scan.shape) - 1)
        last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, np.array(scan.shape) - 1)
        k, j, i = (int(n) for n in last - first + 1)
        at = (int(first[0]), int(first[1]), int(first[2]))
        return resample(self.heat, lps_from_part, scan.lps_from_kji @ index_from_crop(at), (k, j, i)), at


def _patches(heat: Heat, threshold: float, reach: tuple[int, int, int]) -> list[_Patch]:
    """The parts of a map that may reach a threshold between cells: to work on them one by one is quick.

    Args:
        heat: Probability, [slab y x], NaN where nothing was seen.
        threshold: Threshold on the probability, 0 to 1.
        reach: Number of cells that an interpolated value depends on, to each side. Parts are farther apart.
    """
    hot = heat >= threshold  # NaN is not
    around = box_around(hot, margin=max(reach) + 1)
    if around is None:
        return []
    filled = _bridged(heat)[around]
    wide = ndimage.maximum_filter(filled >= threshold, size=[2 * n + 1 for n in reach], mode="constant")
    groups, _ = cast("tuple[np.ndarray, int]", ndimage.label(wide, np.ones((3, 3, 3))))
    found = []
    for number, where in enumerate(ndimage.find_objects(groups), start=1):
        own = np.where(groups[where] == number, filled[where], np.float32(0))
        k, j, i = (slice(a.start + w.start, a.start + w.stop) for a, w in zip(around, where))
        found.append(_Patch(own, (k, j, i)))
    return found


def _bridged(heat: Heat) -> Heat:
    """A map without NaN: what was not seen has the score of the nearest slab that was, so that no edge is worn off."""
    missing = np.isnan(heat)
    if not missing.any():
        return heat
    filled = np.where(missing, np.float32(0), heat)
    empty = missing.all(axis=(1, 2))
    measured = np.flatnonzero(~empty)
    if len(measured):
        for slab in np.flatnonzero(empty):
            filled[slab] = filled[measured[np.abs(measured - slab).argmin()]]
    return filled


def find_instances(
    heat: Heat,
    lps_from_heat: Affine,
    scan: Scan,
    thorax: Thorax | None,
    calibration: Calibration,
    min_volume_ml: float,
    min_score: float,
    lobar: bool = False,
) -> tuple[Labels, tuple[Instance, ...]]:
    """Labels and measures the components of a map.

    Args:
        heat: Probability, [slab y x].
        lps_from_heat: Maps (slab, y, x, 1) of ``heat`` to LPS in mm.
        scan: Scan whose grid is labelled.
        thorax: Chest, to name sides and thirds; None for queries that are not about it.
        calibration: Calibration of the term: threshold of the map, probability of each component, and minimum evidence
            beside a stronger component.
        min_volume_ml: Minimum volume of a component in ml; smaller ones are dropped.
        min_score: Minimum probability of a component, 0 to 1; others are dropped.
        lobar: Whether its components lie in lobes, to be named by estimate.

    Returns:
        The labels on the scan's grid, [k j i], and the components, in the order of their labels.
    """
    labels = np.zeros(scan.shape, np.uint8)
    ml = voxel_volume_mm3(scan.lps_from_kji) / 1000
    cell_from_voxel = np.linalg.inv(lps_from_heat) @ scan.lps_from_kji
    smoothed = smoothing_mm(lps_from_heat, scan.lps_from_kji) / spacing_mm(lps_from_heat)
    k, j, i = (1 + int(np.ceil(3 * one)) for one in smoothed)
    candidates = []
    for patch in _patches(heat, calibration.threshold, (k, j, i)):
        # A voxel's cell is in the patch or next to it; the filters below reach three cells farther.
        near = tuple(slice(max(0, one.start - 4), one.stop + 4) for one in patch.box)
        logit_map = evidence_map(heat[near])
        if calibration.probability(float(logit_map.max())) < min_score:
            continue
        # The peak is sought a little deeper: where many cells have the same score, the edge is a poor place to mark.
        deep = mean_filter(logit_map, 5)
        start = [one.start for one in near]
        part, first = patch.on_scan(lps_from_heat, scan)
        components, count = cast(
            "tuple[np.ndarray, int]", ndimage.label(part >= calibration.threshold, CONNECTIVITY_18)
        )
        # A component may go through a gap between slices; what was not measured there is no part of it all the same.
        box = tuple(slice(f, f + n) for f, n in zip(first, part.shape))
        components[np.isnan(scan.voxels[box])] = 0
        volume = np.bincount(components.ravel(), minlength=count + 1) * ml
        boxes = ndimage.find_objects(components)
        for n in range(1, len(boxes) + 1):
            where = boxes[n - 1]
            if where is None or volume[n] < min_volume_ml:
                continue
            inside = np.argwhere(components[where] == n) + [f + s.start for f, s in zip(first, where)]
            fine = _cells_of(inside, cell_from_voxel, heat.shape)
            here = tuple((fine - start).T)
            evidence = float(logit_map[here].max())
            if calibration.probability(evidence) >= min_score:
                candidates.append((evidence, inside, fine, inside[deep[here].argmax()]))
    candidates.sort(key=lambda candidate: (-candidate[0], -len(candidate[1])))
    if calibration.min_secondary_logit is not None:
        candidates = candidates[:1] + [one for one in candidates[1:] if one[0] >= calibration.min_secondary_logit]
    found = []
    for label, (evidence, inside, fine, peak) in enumerate(candidates[:MAX_INSTANCES], start=1):
        labels[tuple(inside.T)] = label
        one = _measure(label, calibration.probability(evidence), inside, fine, peak, scan, thorax)
        in_lobes = lobes_of_cells(fine, thorax) if lobar and thorax is not None and thorax.seen else ()
        found.append(replace(one, lobes=in_lobes))
    return labels, tuple(found)


def _cells_of(inside: np.ndarray, cell_from_voxel: Affine, shape: tuple[int, ...]) -> np.ndarray:
    """The nearest cells of a map to voxels [n 3]."""
    if np.count_nonzero(cell_from_voxel[:3, :3]) == 3:  # the grids have the same axes: one addition each
        axes = np.abs(cell_from_voxel[:3, :3]).argmax(axis=1)
        return np.column_stack(
            [
                np.clip(np.rint(np.arange(inside[:, axis].max() + 1) * row[axis] + row[3]), 0, n - 1).astype(np.int32)[
                    inside[:, axis]
                ]
                for axis, row, n in zip(axes, cell_from_voxel, shape)
            ]
        )
    return np.clip(np.rint(transform_points(cell_from_voxel, inside)).astype(int), 0, np.array(shape) - 1)


def _measure(
    label: int,
    score: float,
    inside: np.ndarray,
    fine: np.ndarray,
    peak: np.ndarray,
    scan: Scan,
    thorax: Thorax | None,
) -> Instance:
    """Measures a component, given as voxels of the scan [n 3], the same on the fine grid, and the voxel of its peak."""
    values = scan.voxels[tuple(inside.T)]
    peak_lps = transform_points(scan.lps_from_kji, peak)[0]
    centroid = transform_points(scan.lps_from_kji, inside.mean(axis=0))[0]
    side, region = place_of_cells(fine, thorax) if thorax is not None and thorax.seen else (None, "")
    mask = np.zeros(np.ptp(inside, axis=0) + 1, bool)
    mask[tuple((inside - inside.min(axis=0)).T)] = True
    low, high = int(inside[:, 0].min()), int(inside[:, 0].max())
    uids = scan.provenance.instance_uids[low : high + 1]
    return Instance(
        label=label,
        side=side,
        region=region,
        volume_ml=len(inside) * voxel_volume_mm3(scan.lps_from_kji) / 1000,
        long_axis_mm=long_axis_mm(mask, scan.lps_from_kji),
        slices=(low, high),
        instance_uids=tuple(uids),
        mean_hu=float(np.nanmean(values)) if np.isfinite(values).any() else float("nan"),
        score=score,
        peak_lps=_point(peak_lps),
        centroid_lps=_point(centroid),
    )


def _point(place: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in place)
    return x, y, z


def place_of_cells(fine: np.ndarray, thorax: Thorax) -> tuple[Literal["left", "right", "both"] | None, str]:
    """Side and region, in words, of cells of the fine grid, [n 3]: side by most of them, third by their middle."""
    index = fine[:: max(1, len(fine) // 20_000)]
    sides = thorax.side[tuple(index.T)]
    counts = np.bincount(sides, minlength=3)
    if counts[1:].sum() == 0:
        return None, "outside the lungs"
    label = int(counts[1:].argmax()) + 1
    share = counts[label] / counts[1:].sum()
    own = index[sides == label]
    middle = own[np.argsort(own[:, 0])[len(own) // 2]]
    side, region = anatomical_label(thorax, (int(middle[0]), int(middle[1]), int(middle[2])))
    if share > 0.8:
        return side, region
    return ("both", "both lungs") if thorax.sides_known else (None, "both lungs")


def same_size(long_axis_mm: float, size_mm: float) -> bool:
    """Whether a component's long axis is about the requested one: within 30% of it, and within 3 mm in any case."""
    return abs(long_axis_mm - size_mm) <= max(3.0, 0.3 * size_mm)


def filter_by_size(
    labels: Labels, instances: tuple[Instance, ...], size_mm: float
) -> tuple[Labels, tuple[Instance, ...], tuple[Instance, ...]]:
    """Keeps the components of about the long axis in a query.

    Args:
        labels: Labels from ``find_instances``, [k j i].
        instances: Components from ``find_instances``.
        size_mm: Requested long axis in mm; a component fits within 30% of it, and within 3 mm in any case.

    Returns:
        The labels and the components that fit, numbered anew, and the other ones.
    """
    fits = [one for one in instances if same_size(one.long_axis_mm, size_mm)]
    others = tuple(one for one in instances if one not in fits)
    numbers = np.zeros(256, np.uint8)
    for new, one in enumerate(fits, start=1):
        numbers[one.label] = new
    return numbers[labels], tuple(replace(one, label=n) for n, one in enumerate(fits, start=1)), others


def long_axis_mm(mask: np.ndarray, lps_from_kji: Affine) -> float:
    """The longest distance within one slice, from voxel edge to voxel edge, in mm (RECIST 1.1, Eisenhauer 2009).

    Args:
        mask: Mask, bool [k j i].
        lps_from_kji: Maps (k, j, i, 1) of ``mask`` to LPS in mm; only directions and spacings matter.
    """
    plane_mm = lps_from_kji[:3, 1:3]
    longest = 0.0
    for plane in mask:
        rows = np.flatnonzero(plane.any(axis=1))
        if not len(rows):
            continue
        # The farthest points are corners of the hull, and these are the first or the last voxel of a row.
        first = plane[rows].argmax(axis=1)
        last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
        points = np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])
        corners = (points[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])).reshape(-1, 2)
        corners = corners[ConvexHull(corners).vertices]  # a single voxel already has an area
        longest = max(longest, float(pdist(corners @ plane_mm.T).max()))
    return longest
