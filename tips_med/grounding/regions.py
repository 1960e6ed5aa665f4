"""Where a query may be at all: the lungs as the model sees them, their sides and thirds, and what lies beside them.

Side and location are told to the text tower like any other words; here they are checked as well, by geometry, because
the wrong side is the typical failure of prompted segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from scipy import ndimage

from tips_med.geometry import spacing_mm, voxel_volume_mm3
from tips_med.query import Query
from tips_med.shapes import Affine

LUNGS_FROM_ML = 30.0
"""Less lung than this and there is no saying which third of it something is in."""

REACH_MM = 25.0
"""How far from the lungs a finding of the lungs or the pleura may lie: a large effusion has pushed the lung away."""

THIRDS = {
    # Bounds on height within the lung, 0 at its lowest and 1 at its highest point.
    "upper_third": (2 / 3, 1.0),
    "upper_zone": (2 / 3, 1.0),
    "apex": (0.8, 1.0),
    "middle_third": (1 / 3, 2 / 3),
    "middle_zone": (1 / 3, 2 / 3),
    "lower_third": (0.0, 1 / 3),
    "lower_zone": (0.0, 1 / 3),
    "base": (0.0, 1 / 3),
    # Lobes overlap in height, since the fissures are steep, and this model does not outline them.
    "upper_lobe": (0.35, 1.0),
    "middle_lobe": (0.1, 0.6),
    "lingula": (0.1, 0.6),
    "lower_lobe": (0.0, 0.7),
}
APPROXIMATE = ("upper_lobe", "middle_lobe", "lingula", "lower_lobe")


@dataclass(frozen=True, eq=False)
class Lungs:
    """The lungs of a scan, on its fine grid.

    Attributes:
        side: 1 where the nearest lung is the right one, 2 the left one, [slab y x]; 0 beyond ``REACH_MM``.
        inside: The lungs themselves, 1 right, 2 left, [slab y x].
        height: Of every slab within the right and the left lung, 0 lowest to 1 highest, [2 slab].
        volume_ml: Of the right and the left lung.
    """

    side: np.ndarray
    inside: np.ndarray
    height: np.ndarray
    volume_ml: tuple[float, float]

    @property
    def seen(self) -> bool:
        """Whether there is enough lung in the scan to speak of."""
        return sum(self.volume_ml) >= LUNGS_FROM_ML


def lungs_of(right: np.ndarray, left: np.ndarray, lps_from_fine: Affine) -> Lungs:
    """Cleans two probability maps into the lungs.

    Args:
        right: Probability of the right lung, [slab y x]; NaN where nothing was seen.
        left: Of the left lung.
        lps_from_fine: Their place; slabs run to the head.
    """
    step = spacing_mm(lps_from_fine)
    ml = voxel_volume_mm3(lps_from_fine) / 1000
    right, left = np.nan_to_num(right), np.nan_to_num(left)
    inside = np.zeros(right.shape, np.uint8)
    for label, own, other in ((1, right, left), (2, left, right)):
        inside[_largest((own >= 0.5) & (own >= other), 10 / ml)] = label
    height = np.full((2, len(inside)), np.nan)
    slabs = np.arange(len(inside))
    for n in range(2):
        rows = np.flatnonzero((inside == n + 1).any(axis=(1, 2)))
        if len(rows):
            height[n] = (slabs - rows[0] + 0.5) / (rows[-1] - rows[0] + 1)
    volumes = ((inside == 1).sum() * ml, (inside == 2).sum() * ml)
    return Lungs(_nearest(inside, step), inside, height, (float(volumes[0]), float(volumes[1])))


def _largest(mask: np.ndarray, least: float) -> np.ndarray:
    """Pieces of at least ``least`` voxels and of a tenth of the largest, holes filled slab by slab."""
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(mask))
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.isin(labels, np.flatnonzero(sizes >= max(least, 0.1 * sizes.max())))
    return np.stack([np.asarray(ndimage.binary_fill_holes(plane)) for plane in kept])


def _nearest(inside: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Which lung is nearest, within reach, on every voxel."""
    if not inside.any():
        return np.zeros_like(inside)
    # Every second row and column is plenty for a distance of 25 mm, and four times as fast.
    coarse = inside[:, ::2, ::2]
    found = ndimage.distance_transform_edt(coarse == 0, step * (1, 2, 2), return_indices=True)
    distance, where = cast("tuple[np.ndarray, np.ndarray]", found)
    side = np.where(distance <= REACH_MM, coarse[tuple(where)], 0).astype(np.uint8)
    side = side.repeat(2, axis=1)[:, : inside.shape[1]].repeat(2, axis=2)[:, :, : inside.shape[2]]
    return np.where(inside > 0, inside, side)


def allowed(query: Query, lungs: Lungs) -> np.ndarray:
    """Where the answer to a query may lie, bool [slab y x]: within reach of the lung, on its side, at its height."""
    region = lungs.side > 0
    if query.side in ("left", "right"):
        region &= lungs.side == (2 if query.side == "left" else 1)
    for location in query.locations:
        if location.id in THIRDS:
            low, high = THIRDS[location.id]
            for label in (1, 2):
                height = lungs.height[label - 1]
                outside = ~((height >= low) & (height <= high))
                region &= ~((lungs.side == label) & outside[:, None, None])
    return region


def place_of(lungs: Lungs, index: tuple[int, int, int]) -> tuple[Literal["left", "right"] | None, str]:
    """The side, and the region in words, of a place on the fine grid."""
    label = int(lungs.side[index])
    if label == 0:
        return None, "outside the lungs"
    side: Literal["left", "right"] = "left" if label == 2 else "right"
    height = lungs.height[label - 1, index[0]]
    if np.isnan(height):
        return side, f"{side} lung"
    third = "lower" if height < 1 / 3 else "middle" if height < 2 / 3 else "upper"
    return side, f"{third} third of the {side} lung"
