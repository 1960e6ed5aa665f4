"""Overlap of two masks: Dice, normalised surface Dice, and the hit rate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, as_mask, box_of, one_case, split_cases


def dice(mask: ArrayLike, truth: ArrayLike) -> float:
    """Twice the overlap over the sum of sizes (Dice 1945); 1 when both are empty, as ReXGroundingCT counts it.

    Args:
        mask: Predicted mask [k j i].
        truth: True mask on the same grid.

    Raises:
        MetricInputError: They are on different grids, or no masks.
    """
    own, other = one_case(mask, truth)
    total = int(own.sum()) + int(other.sum())
    return 2 * int((own & other).sum()) / total if total else 1.0


def surface_dice(
    mask: ArrayLike, truth: ArrayLike, spacing_mm: tuple[float, float, float], tolerance_mm: float = 2.0
) -> float:
    """The share of both surfaces that lies within a tolerance of the other (NSD; Nikolov 2021, arXiv:1809.04430).

    Surface elements are weighted by their area, as in DeepMind's ``surface-distance``; MONAI does the work.

    Args:
        mask: Predicted mask [k j i].
        truth: True mask on the same grid.
        spacing_mm: Spacing of the grid in mm, in its axis order.
        tolerance_mm: Tolerance in mm.

    Returns:
        The share, 0 to 1; 1 when both are empty, 0 when one is.
    """
    own, other = one_case(mask, truth)
    if not own.any() or not other.any():
        return 1.0 if not own.any() and not other.any() else 0.0
    from monai.metrics.surface_dice import compute_surface_dice  # takes seconds to import

    box = box_of(own | other)
    predicted, true = (torch.from_numpy(np.pad(m[box], 1))[None, None] for m in (own, other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MONAI's own internals
        nsd = compute_surface_dice(
            predicted, true, [tolerance_mm], include_background=True, spacing=spacing_mm, use_subvoxels=True
        )
    return float(nsd)


class GlobalDice(CaseMetric):
    """Mean Dice a finding, 1 where mask and truth are both empty.

    The same as ReXGroundingCT's with ``--global_only``; its usual mode, which drops small predicted components first,
    is ``ReXGroundingCT``.

    Values: ``dice`` of all cases, ``dice_present`` of those whose truth is not empty.
    """

    higher_is_better = True

    def update(self, mask: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch of them; both masks [k j i] or [b c k j i] on one grid."""
        for who, (own, other) in split_cases(patient, mask=as_mask(mask), truth=as_mask(truth, "truth")):
            self._add([dice(own, other), float(other.any())], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"dice": mean_of(rows[:, 0]), "dice_present": mean_of(rows[rows[:, 1] > 0, 0])}

    def counts(self) -> dict[str, int]:
        """See CaseMetric."""
        return {"dice_present": int((dim_zero_cat(self.rows)[:, 1] > 0).sum())} if len(self.rows) else {}


class HitRate(CaseMetric):
    """The share of findings that are there whose Dice reaches 0.1.

    Cases without a truth are left out: an empty mask is no hit. Without such cases it is ReXGroundingCT's hit rate with
    ``--global_only``; see ``ReXGroundingCT`` for its usual mode.

    Args:
        min_dice: Minimum Dice of a hit, 0 to 1.
    """

    higher_is_better = True

    def __init__(self, min_dice: float = 0.1) -> None:
        super().__init__()
        self.min_dice = min_dice

    def update(self, mask: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch of them; both masks [k j i] or [b c k j i] on one grid."""
        for who, (own, other) in split_cases(patient, mask=as_mask(mask), truth=as_mask(truth, "truth")):
            if other.any():
                self._add([float(dice(own, other) >= self.min_dice)], who)

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
        self,
        mask: ArrayLike,
        truth: ArrayLike,
        spacing_mm: tuple[float, float, float],
        *,
        patient: str | Sequence[str | None] | None = None,
    ) -> None:
        """Adds a case, or a batch of them; both masks [k j i] or [b c k j i] on one grid of that spacing."""
        for who, (own, other) in split_cases(patient, mask=as_mask(mask), truth=as_mask(truth, "truth")):
            self._add([surface_dice(own, other, spacing_mm, self.tolerance_mm)], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"nsd": mean_of(rows[:, 0])}
