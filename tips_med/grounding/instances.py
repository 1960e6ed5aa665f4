"""From a map to components with measurements, on the scan's own grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from tips_med.card import Calibration
from tips_med.geometry import CONNECTIVITY_18, grid_corners, transform_points, voxel_volume_mm3
from tips_med.grounding.answer import Instance
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.thorax import Thorax, anatomical_label
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.shapes import Affine, Heat, Labels

MAX_INSTANCES = 50
"""Maximum number of components; those with the highest scores are kept."""


def mask_on_scan(
    heat: Heat, lps_from_heat: Affine, scan: Scan, threshold: float
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Where a map reaches a threshold, on the scan's grid, only within the box that it does so.

    Args:
        heat: Probability, [slab y x], NaN where nothing was seen.
        lps_from_heat: Maps (slab, y, x, 1) of ``heat`` to LPS in mm.
        scan: Scan whose grid is used.
        threshold: Threshold on the probability, 0 to 1.

    Returns:
        The interpolated map in that box, [k j i], and the box's first index.
    """
    hot = np.argwhere(np.nan_to_num(heat) >= min(threshold, 0.3))
    if not len(hot):
        return np.zeros((0, 0, 0), np.float32), (0, 0, 0)
    low, high = hot.min(axis=0), hot.max(axis=0)
    box = lps_from_heat.copy()
    box[:3, 3] = transform_points(lps_from_heat, low)[0]
    size = tuple(int(n) for n in high - low + 1)
    index = transform_points(np.linalg.inv(scan.lps_from_kji), grid_corners(box, (size[0], size[1], size[2])))
    first = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, np.array(scan.shape) - 1)
    last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, np.array(scan.shape) - 1)
    shape = last - first + 1
    place = scan.lps_from_kji.copy()
    place[:3, 3] = transform_points(scan.lps_from_kji, first)[0]
    part = resample(_bridged(heat), lps_from_heat, place, (int(shape[0]), int(shape[1]), int(shape[2])))
    return np.nan_to_num(part), (int(first[0]), int(first[1]), int(first[2]))


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

    Returns:
        The labels on the scan's grid, [k j i], and the components, in the order of their labels.
    """
    labels = np.zeros(scan.shape, np.uint8)
    part, first = mask_on_scan(heat, lps_from_heat, scan, calibration.threshold)
    if not part.size:
        return labels, ()
    components, count = cast("tuple[np.ndarray, int]", ndimage.label(part >= calibration.threshold, CONNECTIVITY_18))
    if not count:
        return labels, ()
    # A component may go through a gap between slices; what was not measured there is no part of it all the same.
    box = tuple(slice(f, f + n) for f, n in zip(first, part.shape))
    components[~np.isfinite(scan.voxels[box])] = 0
    numbers = np.arange(1, count + 1)
    ml = voxel_volume_mm3(scan.lps_from_kji) / 1000
    volume = np.bincount(components.ravel(), minlength=count + 1)[1:] * ml
    boxes = ndimage.find_objects(components)
    logit_map = evidence_map(heat)
    # The peak is sought a little deeper: where many cells have the same score, the edge is a poor place to mark.
    deep = ndimage.uniform_filter(logit_map, 5, mode="nearest")
    to_fine = np.linalg.inv(lps_from_heat) @ scan.lps_from_kji
    candidates = []
    for n in numbers[volume >= min_volume_ml]:
        where = boxes[n - 1]
        if where is None:
            continue
        inside = np.argwhere(components[where] == n) + [f + s.start for f, s in zip(first, where)]
        fine = np.clip(np.rint(transform_points(to_fine, inside)).astype(int), 0, np.array(heat.shape) - 1)
        logits = logit_map[tuple(fine.T)]
        evidence = float(logits.max())
        if calibration.probability(evidence) >= min_score:
            candidates.append((evidence, inside, fine, inside[deep[tuple(fine.T)].argmax()]))
    candidates.sort(key=lambda candidate: (-candidate[0], -len(candidate[1])))
    if calibration.min_secondary_logit is not None:
        candidates = candidates[:1] + [one for one in candidates[1:] if one[0] >= calibration.min_secondary_logit]
    found = []
    for label, (evidence, inside, fine, peak) in enumerate(candidates[:MAX_INSTANCES], start=1):
        labels[tuple(inside.T)] = label
        found.append(_measure(label, calibration.probability(evidence), inside, fine, peak, scan, thorax))
    return labels, tuple(found)


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
    side, region = _place(fine, thorax) if thorax is not None and thorax.seen else (None, "")
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


def _place(fine: np.ndarray, thorax: Thorax) -> tuple[Literal["left", "right", "both"] | None, str]:
    """Side and region of a component on the fine grid, [n 3]: side by most of its voxels, third by its middle."""
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
    tolerance_mm = max(3.0, 0.3 * size_mm)
    fits = [one for one in instances if abs(one.long_axis_mm - size_mm) <= tolerance_mm]
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
        points = np.argwhere(plane)
        if not len(points):
            continue
        corners = (points[:, None] + np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])).reshape(-1, 2)
        try:
            corners = corners[ConvexHull(corners).vertices]
        except QhullError:  # cannot be: a single voxel already has an area
            continue
        longest = max(longest, float(pdist(corners @ plane_mm.T).max()))
    return longest
