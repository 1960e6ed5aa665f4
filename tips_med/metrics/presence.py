"""Is it there at all? Quality of the presence decision, and volume marked where nothing is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_calibration_error,
    binary_sensitivity_at_specificity,
)

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, as_array, as_heat, as_mask, split_cases


class PresenceDetection(CaseMetric):
    """AUROC, sensitivity at a specificity, and the calibration error of probabilities of presence.

    Values: ``auroc``; ``sensitivity`` at the requested specificity; ``calibration_error``, the expected calibration
    error over ten equal bins (Naeini 2015; Guo 2017). The first two are NaN unless there are cases of both classes.
    The computation is torchmetrics'.

    Args:
        specificity: Specificity at which the sensitivity is taken, 0 to 1.
        bins: Number of bins of the calibration error, 1 or more.
    """

    def __init__(self, specificity: float = 0.95, bins: int = 10) -> None:
        super().__init__()
        self.specificity, self.bins = specificity, bins

    def update(
        self,
        probability: float | Sequence[float] | ArrayLike,
        present: bool | Sequence[bool] | ArrayLike,
        *,
        patient: str | Sequence[str | None] | None = None,
    ) -> None:
        """Adds a case, or a batch of them.

        Args:
            probability: Probability in the answer, 0 to 1, or a vector of them.
            present: Whether the finding is there, or a vector.
            patient: Patient, or one for each case.

        Raises:
            MetricInputError: Numbers differ, or there are logits among the probabilities.
        """
        chances = as_heat(np.atleast_1d(as_array(probability)), "probability", probability=True)
        there = as_mask(np.atleast_1d(as_array(present)), "label")
        columns = {"probability": chances[:, None, None, None], "label": there[:, None, None, None]}
        for who, (chance, label) in split_cases(patient, **columns):
            self._add([float(chance.item()), float(label.item())], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        probability, present = rows[:, 0], rows[:, 1].int()
        auroc = sensitivity = torch.tensor(torch.nan)
        if 0 < int(present.sum()) < len(present):
            auroc = binary_auroc(probability, present)
            sensitivity, _ = binary_sensitivity_at_specificity(probability, present, self.specificity)
        error = binary_calibration_error(probability.float(), present, n_bins=self.bins, norm="l1")
        return {"auroc": auroc.float(), "sensitivity": sensitivity.float(), "calibration_error": error.float()}


class FalsePositiveVolume(CaseMetric):
    """What is marked where the finding is absent: ``false_ml``, the mean volume, and ``clean``, the share with none.

    Cases in which the finding is there are left out. The measure is autoPET's (Gatidis 2022) for negative scans.
    """

    higher_is_better = False

    def update(
        self, mask: ArrayLike, truth: ArrayLike, voxel_ml: float, *, patient: str | Sequence[str | None] | None = None
    ) -> None:
        """Adds a case, or a batch: both masks [k j i] or [b c k j i] on one grid, and the volume of a voxel in ml."""
        for who, (own, true) in split_cases(patient, mask=as_mask(mask), truth=as_mask(truth, "truth")):
            if not true.any():
                volume = int(own.sum()) * voxel_ml
                self._add([volume, float(volume == 0)], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"false_ml": mean_of(rows[:, 0]), "clean": mean_of(rows[:, 1])}
