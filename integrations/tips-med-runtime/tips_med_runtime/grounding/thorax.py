# Copied from tips_med/grounding/thorax.py by copies.py: change it there.
"""The chest of a scan: lungs, the half of the thorax that each fills, their sides and heights, and how much was seen.

Left and right come from the network, and are checked against a midline found without a network (``tips_med.body``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Literal, cast

import numpy as np
from scipy import ndimage

from tips_med_runtime.body import Body
from tips_med_runtime.geometry import LEFT, RIGHT, box_around, spacing_mm, voxel_volume_mm3
from tips_med_runtime.shapes import Affine

SIDES: dict[int, Literal["right", "left"]] = {RIGHT: "right", LEFT: "left"}
"""Sides by their labels."""

MIN_LUNGS_ML = 30.0
"""Minimum volume of lung for anything to be known of a chest."""

MARGIN_MM = 25.0
"""How far from the lungs or the hemithorax a finding of the lungs or the pleura may lie: fluid pushes both away."""

MAX_WRONG_SIDE_FRACTION = 0.1
"""The share of a lung that may lie beyond the midline: hearts and hernias push some of it there."""

STRIP_MM = 30.0
"""Width of the strip of lung that an edge which cuts it is assumed to hide."""

WHOLE = 0.15
"""A lung whose outermost slab is smaller than this share of its largest one ends there; else the scan cuts it off."""

NARROW = 0.7
"""A half of the body that is shown less wide than this share of the other half is not shown whole."""

MIN_AERATED_FRACTION = 0.35
"""A side that is smaller than this share of the other one holds something else than a lung, or was removed."""


@dataclass(frozen=True)
class Hemithorax:
    """How much the scan shows of one side of the chest.

    Attributes:
        volume_ml: Volume of the side in ml, with all that it holds.
        assessed_fraction: Estimated share of it that the scan shows, 0 to 1.
        cut: Whether an edge of the field of view, or an end of the scan, cuts it.
        gap: Whether slabs are missing in it.
        aerated: Whether it is about as large as the other side; True without another side.
    """

    volume_ml: float
    assessed_fraction: float
    cut: bool
    gap: bool
    aerated: bool


@dataclass(frozen=True, eq=False)
class Thorax:
    """The chest of a scan, on its fine grid.

    Attributes:
        lungs: Label map of the lungs, 1 right, 2 left, [slab y x].
        side: Label map of the nearest side, 1 right, 2 left, [slab y x]; 0 beyond reach or outside the body.
        height: Height of every slab within the right and the left lung, 0 lowest to 1 highest, [2 slab]; NaN beyond
            its ends, and everywhere where the height is not known.
        parts: How much was seen of the right and the left side.
        sides_known: Whether the network's sides agree with the body's midline; False also where there is none.
        step_mm: Spacing of the grid, (slab, y, x).
    """

    lungs: np.ndarray
    side: np.ndarray
    height: np.ndarray
    parts: tuple[Hemithorax, Hemithorax]
    sides_known: bool
    step_mm: tuple[float, float, float]

    @property
    def seen(self) -> bool:
        """Whether the scan shows enough of a chest."""
        return sum(part.volume_ml for part in self.parts) >= MIN_LUNGS_ML


def find_thorax(
    right: np.ndarray,
    left: np.ndarray,
    lps_from_fine: Affine,
    body: Body,
    seen: np.ndarray,
    cavities: tuple[np.ndarray, np.ndarray] | None = None,
) -> Thorax:
    """Finds the chest from the maps of both lungs.

    Args:
        right: Score of the right lung, [slab y x]; NaN where nothing was seen.
        left: Score of the left lung, on the same grid.
        lps_from_fine: Maps (slab, y, x, 1) to LPS in mm: axial, along the patient's axes, slabs run to the head.
        body: Body, on the same grid.
        seen: Mask of measured cells, bool [slab y x].
        cavities: Scores of the right and the left hemithorax; None for a model that does not know them.
    """
    step = spacing_mm(lps_from_fine)
    ml = voxel_volume_mm3(lps_from_fine) / 1000
    lungs = _labelled(right, left, body, ml)
    chest = lungs
    if cavities is not None:
        chest = np.where(lungs > 0, lungs, _labelled(*cavities, body, ml)).astype(np.uint8)
    parts, spans = [], []
    for label in (RIGHT, LEFT):
        part, span = _assess_side(chest == label, body, seen, step, ml)
        parts.append(part)
        spans.append(span)
    volumes = [part.volume_ml for part in parts]
    shown = _shown_widths(body, seen, lps_from_fine, np.asarray(chest.any(axis=(1, 2))))
    parts = [
        replace(
            part,
            assessed_fraction=min(part.assessed_fraction, width),
            cut=part.cut or width < 1,
            aerated=part.volume_ml >= MIN_AERATED_FRACTION * max(volumes),
        )
        for part, width in zip(parts, shown)
    ]
    height = _heights(spans, len(chest))
    side = np.where(body.inside, _nearest(chest, step), 0).astype(np.uint8)
    sides_known = _sides_agree(chest, lps_from_fine, body, ml)
    return Thorax(
        lungs, side, height, (parts[0], parts[1]), sides_known, (float(step[0]), float(step[1]), float(step[2]))
    )


def arrays_of_thorax(thorax: Thorax) -> dict[str, np.ndarray]:
    """A chest as arrays, to be stored with a study."""
    parts = [[float(value) for value in astuple(part)] for part in thorax.parts]
    return {
        "thorax_labels": thorax.lungs | thorax.side << 2,
        "thorax_height": thorax.height,
        "thorax_parts": np.array(parts),
        "thorax_sides_known": np.array([thorax.sides_known]),
        "thorax_step_mm": np.array(thorax.step_mm),
    }


def thorax_of_arrays(arrays: Mapping[str, np.ndarray]) -> Thorax | None:
    """The chest that ``arrays_of_thorax`` stored; None where none, or one without its spacing, is stored."""
    if "thorax_labels" not in arrays or "thorax_step_mm" not in arrays:
        return None
    labels = arrays["thorax_labels"]
    right, left = (
        Hemithorax(float(volume), float(share), *(bool(flag) for flag in flags))
        for volume, share, *flags in arrays["thorax_parts"]
    )
    known = bool(arrays["thorax_sides_known"][0])
    slab_mm, y_mm, x_mm = (float(mm) for mm in arrays["thorax_step_mm"])
    return Thorax(labels & 3, labels >> 2, arrays["thorax_height"], (right, left), known, (slab_mm, y_mm, x_mm))


def _shown_widths(body: Body, seen: np.ndarray, lps_from_fine: Affine, slabs: np.ndarray) -> tuple[float, float]:
    """How much of the right and the left half of the body the field of view is wide enough for, 0 to 1.

    Where it cuts the body on one side, and that side is narrower than ``NARROW`` of the other one, it cannot hold all
    of that half, whatever the maps say.
    """
    found = {RIGHT: 1.0, LEFT: 1.0}
    slabs = slabs & np.asarray(seen.any(axis=(1, 2)))
    if not body.midline.known or not slabs.any():
        return 1.0, 1.0
    x_mm = lps_from_fine[0, 3] + lps_from_fine[0, 2] * np.flatnonzero(seen[slabs].any(axis=(0, 1)))[[0, -1]]
    middle = float(np.median(body.midline.x_mm[slabs]))
    width = {RIGHT: max(0.0, middle - x_mm[0]), LEFT: max(0.0, x_mm[1] - middle)}
    for label, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
        share = width[label] / max(width[other], 1e-6)
        if body.cut[SIDES[label]][slabs].mean() > 0.5 and share < NARROW:
            found[label] = float(share)
    return found[RIGHT], found[LEFT]


def _labelled(right: np.ndarray, left: np.ndarray, body: Body, ml: float) -> np.ndarray:
    """1 and 2 where the map of one side is above a half and above the other, within the body."""
    right, left = (np.where(body.inside, np.nan_to_num(one), 0) for one in (right, left))
    labels = np.zeros(right.shape, np.uint8)
    for label, own, other in ((RIGHT, right, left), (LEFT, left, right)):
        labels[_largest((own >= 0.5) & (own >= other), 10 / ml)] = label
    return labels


def _largest(mask: np.ndarray, min_voxels: float) -> np.ndarray:
    """Components of at least ``min_voxels`` and of a tenth of the largest, holes filled slab by slab."""
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(mask))
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = (sizes >= max(min_voxels, 0.1 * sizes.max()))[labels]
    box = box_around(kept)
    if box is not None:
        kept[box] = _without_holes(kept[box])
    return kept


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """A mask with the holes of every slab filled: all slabs at once, several times as fast as one by one."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(~padded, in_plane))
    hole = np.ones(count + 1, bool)
    hole[labels[:, 0, 0]] = False
    return hole[labels][:, 1:-1, 1:-1]


def _nearest(chest: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Which side is nearest, within reach, on every voxel."""
    if not chest.any():
        return np.zeros_like(chest)
    # Every second row and column is plenty for such distances, and four times as fast.
    coarse = chest[:, ::2, ::2]
    found = ndimage.distance_transform_edt(coarse == 0, step * (1, 2, 2), return_indices=True)
    distance, where = cast("tuple[np.ndarray, np.ndarray]", found)
    side = np.where(distance <= MARGIN_MM, coarse[tuple(where)], 0).astype(np.uint8)
    side = side.repeat(2, axis=1)[:, : chest.shape[1]].repeat(2, axis=2)[:, :, : chest.shape[2]]
    return np.where(chest > 0, chest, side)


Span = tuple[int, int, bool, bool]
"""First and last slab of a side, and whether it ends there by itself, below and above."""


def _assess_side(
    mask: np.ndarray, body: Body, seen: np.ndarray, step: np.ndarray, ml: float
) -> tuple[Hemithorax, Span | None]:
    """How much of one side was seen: what edges, ends and gaps take from it, estimated."""
    area = mask.sum(axis=(1, 2)).astype(np.float64)
    slabs = np.flatnonzero(area)
    if not len(slabs) or area.sum() * ml < MIN_LUNGS_ML / 3:
        return Hemithorax(0.0, 0.0, False, False, False), None
    first, last = int(slabs[0]), int(slabs[-1])
    shown = np.asarray(seen.any(axis=(1, 2)))
    # What an edge of the field of view runs along.
    padded = np.pad(seen, ((0, 0), (1, 1), (1, 1)))
    beyond = [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
    contact_mm = sum(
        ((mask & ~neighbour).sum(axis=(1, 2)) * mm for neighbour, mm in zip(beyond, step[[2, 2, 1, 1]])),
        np.zeros(len(mask)),
    )
    contact_mm = np.where(shown & (contact_mm > 12), contact_mm, 0)
    cell_mm2 = float(step[1] * step[2])
    lost = np.minimum(contact_mm * STRIP_MM / cell_mm2, 2 * area)
    missing = ~shown[first : last + 1]
    typical = float(np.median(area[area > 0]))
    total_seen, total_lost = area.sum(), lost.sum() + missing.sum() * typical
    below, above = _ends(area, first, shown[:first]), _ends(area, last, shown[last + 1 :])
    whole = [share < WHOLE for share in (below, above)]
    fraction = total_seen / (total_seen + total_lost)
    for share, is_whole in zip((below, above), whole):
        fraction *= 1.0 if is_whole else 1 - 0.5 * share
    part = Hemithorax(
        volume_ml=float(area.sum() * ml),
        assessed_fraction=float(fraction),
        cut=bool(lost.sum() > 0.02 * total_seen or not all(whole)),
        gap=bool(missing.any()),
        aerated=True,
    )
    return part, (first, last, whole[0], whole[1])


def _ends(area: np.ndarray, slab: int, beyond: np.ndarray) -> float:
    """How large a side still is at its outermost slab, as a share of its largest one; zero if more was scanned."""
    return 0.0 if beyond.any() else float(area[slab] / area.max())


def _heights(spans: list[Span | None], slabs: int) -> np.ndarray:
    """Heights within both lungs, [2 slab]; a lung that is cut off has those of the other one, if that is whole."""
    height = np.full((2, slabs), np.nan)
    index = np.arange(slabs)
    for n, own in enumerate(spans):
        other = spans[1 - n]
        if own is None:
            continue
        first, last = own[:2]
        if not (own[2] and own[3]):
            if other is None or not (other[2] and other[3]):
                continue
            first, last = min(first, other[0]), max(last, other[1])
        share = (index - first + 0.5) / (last - first + 1)
        height[n] = np.where((index >= first) & (index <= last), share, np.nan)
    return height


def _sides_agree(chest: np.ndarray, lps_from_fine: Affine, body: Body, ml: float) -> bool:
    """Whether nearly all that is called left lies to the left of the midline, and right to the right of it."""
    midline = body.midline
    if not midline.known:
        return False
    x_mm = lps_from_fine[0, 3] + lps_from_fine[0, 2] * np.arange(chest.shape[2])
    left_of_it = x_mm[None, :] - midline.x_mm[:, None]  # [slab x]
    for label, sign in ((RIGHT, 1), (LEFT, -1)):
        column = (chest == label).sum(axis=1)
        if column.sum() * ml < MIN_LUNGS_ML / 3:
            continue
        if column[sign * left_of_it > midline.within_mm].sum() > MAX_WRONG_SIDE_FRACTION * column.sum():
            return False
    return True


def anatomical_label(thorax: Thorax, index: tuple[int, int, int]) -> tuple[Literal["left", "right"] | None, str]:
    """The side, and the region in words, of a place on the fine grid."""
    label = int(thorax.side[index])
    if label == 0:
        return None, "outside the lungs"
    height = thorax.height[label - 1, index[0]]
    third = "" if np.isnan(height) else "lower" if height < 1 / 3 else "middle" if height < 2 / 3 else "upper"
    if not thorax.sides_known:
        return None, f"{third} third of one lung, its side not known" if third else "one lung, its side not known"
    side = SIDES[label]
    return side, f"{third} third of the {side} lung" if third else f"{side} lung"
