"""Overlap of two masks: Dice, normalised surface Dice, and ReXGroundingCT's global Dice and hit rate."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.shapes import Mask


def dice(mask: Mask, truth: Mask) -> float:
    """Twice the overlap over the sum of sizes (Dice 1945); 1 when both are empty, as ReXGroundingCT counts it.

    Args:
        mask: Predicted mask, bool [k j i].
        truth: True mask on the same grid.

    Raises:
        ValueError: They are on different grids.
    """
    _same_shape(mask, truth)
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def surface_dice(mask: Mask, truth: Mask, spacing_mm: tuple[float, float, float], tolerance_mm: float = 2.0) -> float:
    """The share of both surfaces that lies within a tolerance of the other (NSD; Nikolov 2021, arXiv:1809.04430).

    Surface elements are weighted by their area, as in DeepMind's ``surface-distance``; MONAI does the work.

    Args:
        mask: Predicted mask, bool [k j i].
        truth: True mask on the same grid.
        spacing_mm: Spacing of the grid in mm, in its axis order.
        tolerance_mm: Tolerance in mm.

    Returns:
        The share, 0 to 1; 1 when both are empty, 0 when one is.
    """
    _same_shape(mask, truth)
    if not mask.any() or not truth.any():
        return 1.0 if not mask.any() and not truth.any() else 0.0
    from monai.metrics.surface_dice import compute_surface_dice  # takes seconds to import

    box = _box(mask | truth)
    one, other = (torch.from_numpy(np.pad(m[box], 1))[None, None] for m in (mask, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own internals
        nsd = compute_surface_dice(
            one, other, [tolerance_mm], include_background=True, spacing=spacing_mm, use_subvoxels=True
        )
    return float(nsd)


class GlobalDice(CaseMetric):
    """Mean Dice a finding, 1 where mask and truth are both empty (ReXGroundingCT, arXiv:2507.22030).

    Values: ``dice`` of all cases, ``dice_present`` of those whose truth is not empty.
    """

    higher_is_better = True

    def update(self, mask: Mask, truth: Mask, *, patient: str | None = None) -> None:
        """Adds a case; both masks [k j i] on one grid."""
        self._add([dice(mask, truth), float(truth.any())], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"dice": mean_of(rows[:, 0]), "dice_present": mean_of(rows[rows[:, 1] > 0, 0])}


class HitRate(CaseMetric):
    """The share of findings that are there whose Dice reaches 0.1 (ReXGroundingCT, arXiv:2507.22030).

    Cases without a truth are left out: that set has none, and an empty mask is no hit.

    Args:
        min_dice: Minimum Dice of a hit, 0 to 1.
    """

    higher_is_better = True

    def __init__(self, min_dice: float = 0.1) -> None:
        super().__init__()
        self.min_dice = min_dice

    def update(self, mask: Mask, truth: Mask, *, patient: str | None = None) -> None:
        """Adds a case; both masks [k j i] on one grid."""
        if truth.any():
            self._add([float(dice(mask, truth) >= self.min_dice)], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"hit_rate": mean_of(rows[:, 0])}


class SurfaceDice(CaseMetric):
    """Mean normalised surface Dice; see ``surface_dice``.

    Args:
        tolerance_mm: Tolerance in mm.
    """

    higher_is_better = True

    def __init__(self, tolerance_mm: float = 2.0) -> None:
        super().__init__()
        self.tolerance_mm = tolerance_mm

    def update(
        self, mask: Mask, truth: Mask, spacing_mm: tuple[float, float, float], *, patient: str | None = None
    ) -> None:
        """Adds a case; both masks [k j i] on one grid of that spacing."""
        self._add([surface_dice(mask, truth, spacing_mm, self.tolerance_mm)], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"nsd": mean_of(rows[:, 0])}


def _same_shape(mask: Mask, truth: Mask) -> None:
    if mask.shape != truth.shape:
        raise ValueError(f"the mask is {mask.shape} and the truth {truth.shape}; they must be on one grid")


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    inside = np.argwhere(mask)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(inside.min(axis=0), inside.max(axis=0)))
