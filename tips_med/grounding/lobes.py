"""Lobes by mean fissures: where the fissures of five lungs lie on average, in a lung that is measured by itself.

The network outlines no lobes and sees no fissures. This is an estimate from the shape of the lung alone: the
coordinates of a place are its height (0 base, 1 apex), its depth (0 front, 1 back) and its distance from the
mediastinum (0 medial, 1 lateral) within the lung, and a fissure is a plane in these. The planes are in ``lobes.json``,
fitted by ``python -m benchmarks.lobes`` to the fissures of five lungs (Med-MPD, derived from LIDC-IDRI, CC BY 3.0).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.thorax import SIDES, Thorax

Lobe = Literal["upper", "middle", "lower"]
"""Lobes of a lung. The left ``middle`` one is the lingula, and belongs to the upper lobe, too."""

ENDS = (1.0, 99.0)
"""Percentiles of a lung's rows and columns that are its front and back, and its two sides: a speck moves neither."""

MIN_LUNG_FRACTION = 0.5
"""Minimum share of its half of the chest that a lung must fill for its own shape to tell where its lobes are."""

LOBES_OF_LUNG: dict[int, tuple[Lobe, ...]] = {RIGHT: ("upper", "middle", "lower"), LEFT: ("upper", "lower")}
"""The lobes of each lung by its label (1 right, 2 left), from apex to base."""

MIN_SHARE = 0.2
"""Minimum share of a component in a lobe, beyond the margin, for it to be named beside that of its middle."""

MAX_CELLS = 20_000
"""About how many cells of a component are looked at."""

FILE = Path(__file__).with_name("lobes.json")


@dataclass(frozen=True)
class MeanFissures:
    """What ``lobes.json`` holds.

    A plane is (constant, by height, by depth, by distance from the mediastinum), each coordinate less one half.

    Attributes:
        oblique: The oblique fissure by side (1 right, 2 left), float64 [4]: above zero in the lower lobe.
        horizontal: The right horizontal fissure, float64 [4]: above zero in the upper lobe.
        margin_mm: How far beyond an estimated lobe a finding in it is searched, in mm.
    """

    oblique: dict[int, np.ndarray]
    horizontal: np.ndarray
    margin_mm: float


@cache
def mean_fissures() -> MeanFissures:
    """The mean fissures that are shipped."""
    raw = json.loads(FILE.read_text("utf-8"))
    planes = {name: np.array(plane) for name, plane in raw["planes"].items()}
    oblique = {RIGHT: planes["right oblique"], LEFT: planes["left oblique"]}
    return MeanFissures(oblique, planes["right horizontal"], float(raw["margin_mm"]))


@dataclass(frozen=True, eq=False)
class LungFrame:
    """A lung's own coordinates along the axes of its grid.

    Attributes:
        label: 1 right, 2 left.
        along: Height by slab, depth by row and distance from the mediastinum by column, 0 to 1 within the lung and
            held at its ends, each float64.
        per_mm: How much each of them changes in 1 mm, without sign, float64 [3].
    """

    label: int
    along: tuple[np.ndarray, np.ndarray, np.ndarray]
    per_mm: np.ndarray


def frame_of_lung(lung: np.ndarray, label: int, step_mm: np.ndarray, height: np.ndarray) -> LungFrame:
    """The coordinates of a lung that is shown whole.

    Args:
        lung: Mask of the lung, bool [slab y x]: slabs to the head, y to the back, x to the left.
        label: 1 right, 2 left.
        step_mm: Spacing of its grid, [3].
        height: Height of every slab within the lung, 0 lowest to 1 highest, NaN beyond its ends, [slab].
    """
    slabs = np.flatnonzero(np.isfinite(height))
    per_slab = 1 / len(slabs)
    up = np.clip((np.arange(len(height)) - slabs[0] + 0.5) * per_slab, 0, 1)
    front, back = _ends(lung.sum(axis=(0, 2)))
    low, high = _ends(lung.sum(axis=(0, 1)))
    depth = np.clip((np.arange(lung.shape[1]) - front) / (back - front), 0, 1)
    to_left = np.clip((np.arange(lung.shape[2]) - low) / (high - low), 0, 1)
    # The mediastinum is to the left of the right lung, and to the right of the left one.
    lateral = 1 - to_left if label == RIGHT else to_left
    per_mm = np.array([per_slab, 1 / (back - front), 1 / (high - low)]) / step_mm
    return LungFrame(label, (up, depth, lateral), per_mm)


def _ends(area: np.ndarray) -> tuple[float, float]:
    """Where a lung begins and ends along an axis, in cells."""
    # A cell reaches from half a cell before its index to half a cell beyond.
    share = np.cumsum([0, *area]) / area.sum() * 100
    first, last = (float(np.interp(end, share, np.arange(len(area) + 1) - 0.5)) for end in ENDS)
    return first, max(last, first + 1)


def beyond_mm(plane: np.ndarray, frame: LungFrame, cells: np.ndarray | None = None) -> np.ndarray:
    """How far each place lies beyond a plane, in mm; negative on its other side.

    Args:
        plane: Plane, see ``MeanFissures``.
        frame: Coordinates of the lung.
        cells: Cells to look at, [n 3]; all of the grid when None.

    Returns:
        float32 [slab y x], or [n] of ``cells``.
    """
    weights = plane[1:] / np.linalg.norm(plane[1:] * frame.per_mm)
    up, depth, lateral = ((weight * (axis - 0.5)).astype(np.float32) for weight, axis in zip(weights, frame.along))
    constant = np.float32(plane[0] / np.linalg.norm(plane[1:] * frame.per_mm))
    if cells is not None:
        return constant + up[cells[:, 0]] + depth[cells[:, 1]] + lateral[cells[:, 2]]
    return constant + up[:, None, None] + depth[:, None] + lateral


def depth_in_lobe_mm(
    frame: LungFrame, lobe: Lobe, fissures: MeanFissures | None = None, cells: np.ndarray | None = None
) -> np.ndarray:
    """About how deep in an estimated lobe each place lies, in mm; negative outside of it.

    Only fissures count, not the surface of the lung: a place beyond it has the lobe that is next to it.

    Args:
        frame: Coordinates of the lung.
        lobe: Lobe. The lingula, the left ``middle``, is what lies below the mirror image of the right horizontal
            fissure, as an accessory left one does: nothing else bounds it.
        fissures: The shipped ones when None.
        cells: Cells to look at, [n 3]; all of the grid when None.

    Returns:
        float32 [slab y x], or [n] of ``cells``.
    """
    fissures = fissures or mean_fissures()
    lower = beyond_mm(fissures.oblique[frame.label], frame, cells)
    if lobe == "lower":
        return lower
    if lobe == "upper" and frame.label == LEFT:
        return -lower
    above = beyond_mm(fissures.horizontal, frame, cells)
    return np.minimum(-lower, above if lobe == "upper" else -above)


def frame_of_side(thorax: Thorax, label: int) -> LungFrame | None:
    """The coordinates of a lung of a scan; None where the scan does not show it whole, or it does not fill its side.

    Args:
        thorax: Chest of the scan.
        label: 1 right, 2 left.
    """
    frames = _FRAMES.setdefault(thorax, {})
    if label not in frames:
        frames[label] = _frame_of_side(thorax, label)
    return frames[label]


_FRAMES: WeakKeyDictionary[Thorax, dict[int, LungFrame | None]] = WeakKeyDictionary()
"""Coordinates of the lungs of each chest: each finding of each question needs them."""


def _frame_of_side(thorax: Thorax, label: int) -> LungFrame | None:
    part, height = thorax.parts[label - 1], thorax.height[label - 1]
    if part.cut or not part.aerated or not thorax.sides_known or np.isnan(height).all():
        return None
    lung = thorax.lungs == label
    cell_ml = float(np.prod(thorax.step_mm)) / 1000
    if not lung.any() or lung.sum() * cell_ml < MIN_LUNG_FRACTION * part.volume_ml:
        return None
    return frame_of_lung(lung, label, np.asarray(thorax.step_mm), height)


def lobes_of_cells(cells: np.ndarray, thorax: Thorax, fissures: MeanFissures | None = None) -> tuple[str, ...]:
    """The lobes in which a component may lie, by estimate.

    A lobe is named when the middle of the component is in it, or as near to it as the margin of ``fissures``, within
    which one cannot tell; and when a fifth of the component is in it for certain. One name means that the component is
    in that lobe as far as the shape of a lung can tell.

    Args:
        cells: Cells of the component on the fine grid, [n 3].
        thorax: Chest of the scan.
        fissures: The shipped ones when None.

    Returns:
        Names such as ``left lower lobe``, right before left and from apex to base; empty where a lung is not shown
        whole, where sides are not known, and outside of the lungs.
    """
    fissures = fissures or mean_fissures()
    cells = cells[:: max(1, len(cells) // MAX_CELLS)]
    sides = thorax.side[tuple(cells.T)]
    total = np.count_nonzero(sides)
    found: list[str] = []
    for label, lobes in LOBES_OF_LUNG.items():
        own = cells[sides == label]
        if not total or len(own) < MIN_SHARE * total:
            continue
        frame = frame_of_side(thorax, label)
        if frame is None:
            return ()
        middle = np.median(own, axis=0).astype(int)[None]
        for lobe in lobes:
            near = depth_in_lobe_mm(frame, lobe, fissures, middle)[0] >= -fissures.margin_mm
            share = (depth_in_lobe_mm(frame, lobe, fissures, own) > fissures.margin_mm).mean()
            if near or share >= MIN_SHARE:
                found.append(f"{SIDES[label]} {lobe} lobe")
    return tuple(found)
