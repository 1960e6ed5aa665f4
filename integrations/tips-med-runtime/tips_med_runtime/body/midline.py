# Copied from tips_med/body/midline.py by copies.py: change it there.
"""The midline of a body: from the spine, from the skin on either side, or from neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from tips_med_runtime.body.outline import Edge

BONE_HU = (130.0, 300.0)
"""Cancellous bone begins at the lower, and from the upper it is bone beyond doubt."""

SPINE_FROM, SPINE_ALONE_FROM = 0.2, 0.3
"""How much bone (0 to 1, averaged over a vertebra's size) a spine has: beside a skin that narrows the search, and
without one, where a shoulder could be taken for it."""

SKIN_SLABS = 0.25
"""Minimum share of slabs with a whole flank before its skin is used."""

AP_MM, HALF_WIDTH = 220.0, 0.75
"""Depth of a body from front to back where the field of view does not show it; half its width, as a share of it."""

MIN_WIDTH_MM = 180.0
"""Two flanks that lie nearer to each other than this, or than the body's depth, are not those of a trunk."""

MIN_DEPTH = 0.6
"""A shape flatter than this share of a usual depth is a part of a body: a chest wall beside a lung that is cut open."""

Source = Literal["spine", "skin", "none"]


@dataclass(frozen=True, eq=False)
class Midline:
    """Where the patient's left begins.

    Attributes:
        x_mm: Position of the midline of every slab, along x in mm, [slab].
        back_mm: Position of the spine along y in mm; NaN unless the source is the spine.
        within_mm: Largest expected error in mm; infinite where the source is nothing.
        source: Source of the midline: the spine, the skin of one or both flanks, or nothing.
    """

    x_mm: np.ndarray
    back_mm: float
    within_mm: float
    source: Source

    @property
    def known(self) -> bool:
        """Whether the midline has a source."""
        return self.source != "none"


def find_midline(
    hu: np.ndarray, body: np.ndarray, cut: dict[Edge, np.ndarray], spacing_mm: tuple[float, float, float]
) -> Midline:
    """Finds the midline of a body on a grid with cells of about 4 mm in plane.

    A spine is a column of bone in the back half that goes through all slabs without a jump. Where the field of view
    shows the skin of a flank, the spine cannot be nearer to it than 0.6 of the body's depth: so a shoulder is no spine.

    Args:
        hu: Hounsfield units, [slab y x].
        body: Mask of the body, as made by ``outline_body``, bool [slab y x].
        cut: Slabs in which each edge cuts the body, as made by ``cut_edges``, bool [slab].
        spacing_mm: Spacing of the grid: slab, y, x.

    Returns:
        The midline, in mm from the centre of the grid's first cell.
    """
    right, left = _skin(body, cut, "right"), _skin(body, cut, "left")
    depth, shown = _depth_mm(body, cut, spacing_mm)
    if not shown:
        right = left = None  # the outermost place of a part is not that of the whole
    elif right is not None and left is not None and (left - right) * spacing_mm[2] < min(MIN_WIDTH_MM, 1.05 * depth):
        right = left = None
    columns = np.arange(body.shape[2])
    low, high = 0.0, float(columns[-1])
    least = SPINE_ALONE_FROM
    if right is not None and left is not None:
        middle = (right + left) / 2
        low, high = middle - 45 / spacing_mm[2], middle + 45 / spacing_mm[2]
        least = 0.75 * SPINE_FROM
    elif right is not None:
        low, high, least = right + 0.6 * depth / spacing_mm[2], right + 260 / spacing_mm[2], SPINE_FROM
    elif left is not None:
        low, high, least = left - 260 / spacing_mm[2], left - 0.6 * depth / spacing_mm[2], SPINE_FROM
    allowed = (columns >= low) & (columns <= high)
    alone = right is None and left is None
    if allowed.any():
        x, y, bone = trace_spine(hu, body, spacing_mm, allowed)
        steady = float(np.percentile(bone, 10)) >= SPINE_FROM and len(hu) * spacing_mm[0] >= 60
        if float(np.median(bone)) >= least and (steady or not alone):
            beside = float(np.median(np.minimum(x, columns[-1] - x))) * spacing_mm[2]
            return Midline(
                x * spacing_mm[2], float(np.median(y)) * spacing_mm[1], 12.0 if beside > 24 else 25.0, "spine"
            )
    half = HALF_WIDTH * depth / spacing_mm[2]
    if right is not None and left is not None:
        found, within_mm = (right + left) / 2, 30.0
    elif right is not None:
        found, within_mm = right + half, 60.0
    elif left is not None:
        found, within_mm = left - half, 60.0
    else:
        return Midline(np.full(len(hu), np.nan), np.nan, np.inf, "none")
    return Midline(np.full(len(hu), found * spacing_mm[2]), np.nan, within_mm, "skin")


def trace_spine(
    hu: np.ndarray, body: np.ndarray, spacing_mm: tuple[float, float, float], allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Traces the column of most bone through all slabs: dynamic programming, at most 8 mm sideways for every 10 mm up.

    Args:
        hu: Hounsfield units, [slab y x].
        body: Mask of the body, bool [slab y x].
        spacing_mm: Spacing of the grid in mm: slab, y, x.
        allowed: Columns that may be its middle, bool [x].

    Returns:
        Its column, its row and how much of its surroundings is bone (0 to 1), each [slab].
    """
    low, high = BONE_HU
    bone = np.clip((hu - low) / (high - low), 0, 1) * body
    step, row_mm, column_mm = spacing_mm
    # Vertebrae stay where they are over 40 mm, where a rib has long moved on.
    bone = ndimage.uniform_filter1d(bone, max(1, round(40 / step)) | 1, axis=0, mode="nearest")
    every = max(1, round(10 / step))
    knots = np.arange(0, len(hu), every)
    bone = ndimage.gaussian_filter(bone[knots], (0, 10 / row_mm, 12 / column_mm), mode="constant")
    near = ndimage.maximum_filter1d(body, 2 * every + 1, axis=0)[knots].any(axis=2)
    score, row = np.zeros((len(knots), body.shape[2])), np.zeros((len(knots), body.shape[2]), int)
    for n, rows in enumerate(near):
        inside = np.flatnonzero(rows)
        if len(inside) < 5:
            continue
        share = (np.arange(len(rows)) - inside[0]) / max(1, inside[-1] - inside[0])
        weighed = bone[n] * np.interp(share, [0.35, 0.55, 0.95, 1.0], [0, 1, 1, 0.5])[:, None]
        row[n], score[n] = weighed.argmax(axis=0), weighed.max(axis=0)
    score[:, ~allowed] = -1e3
    reach = max(1, round(8 / column_mm))
    total, came_from = score.copy(), np.zeros(score.shape, int)
    columns = np.arange(score.shape[1])
    for n in range(1, len(knots)):
        ways = np.full((2 * reach + 1, len(columns)), -np.inf)
        for way, aside in enumerate(range(-reach, reach + 1)):
            source = columns + aside
            fits = (source >= 0) & (source < len(columns))
            ways[way, fits] = total[n - 1, source[fits]] - 0.01 * abs(aside)
        best = ways.argmax(axis=0)
        total[n] += ways.max(axis=0)
        came_from[n] = columns + best - reach
    path = np.zeros(len(knots), int)
    path[-1] = int(total[-1].argmax())
    for n in range(len(knots) - 1, 0, -1):
        path[n - 1] = came_from[n, path[n]]
    which = np.arange(len(knots))
    slabs = np.arange(len(hu))
    return (
        np.interp(slabs, knots, path),
        np.interp(slabs, knots, row[which, path]),
        np.interp(slabs, knots, np.maximum(score[which, path], 0)),
    )


def _skin(body: np.ndarray, cut: dict[Edge, np.ndarray], side: Literal["right", "left"]) -> float | None:
    """The column of one flank's skin, the median of the slabs in which it is whole; None where few show it."""
    width = np.asarray(body.any(axis=1))
    holds = width.any(axis=1)
    whole = holds & ~cut[side]
    if not holds.any() or whole.sum() < max(1, SKIN_SLABS * holds.sum()):
        return None
    edges = width.argmax(axis=1) if side == "right" else width.shape[1] - 1 - width[:, ::-1].argmax(axis=1)
    return float(np.median(edges[whole]))


def _depth_mm(
    body: np.ndarray, cut: dict[Edge, np.ndarray], spacing_mm: tuple[float, float, float]
) -> tuple[float, bool]:
    """How deep the body is from front to back, in mm, and whether the field of view shows (nearly) all of that depth.

    The depth is the median of the slabs in which both ends are whole, or a usual one where there is none.
    """
    height = np.asarray(body.any(axis=2))
    holds = height.any(axis=1)
    if not holds.any():
        return AP_MM, False
    first, last = height.argmax(axis=1), height.shape[1] - 1 - height[:, ::-1].argmax(axis=1)
    extent_mm = (last - first + 1) * spacing_mm[1]
    whole = holds & ~cut["front"] & ~cut["back"]
    if whole.sum() >= 0.5 * holds.sum():
        depth = float(np.median(extent_mm[whole]))
        return depth, depth >= MIN_DEPTH * AP_MM
    return AP_MM, float(np.median(extent_mm[holds])) >= 0.75 * AP_MM
