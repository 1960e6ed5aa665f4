"""A metric: how much too large or too small the outlined volume is (relative volume difference, Heimann 2009)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tips_med.grounding import Grounding
from tips_med.metrics import GroundingMetric
from tips_med.metrics.base import mean_of
from tips_med.shapes import Mask


class VolumeDifference(GroundingMetric):
    """Signed and absolute difference of the volumes, each as a share of the true volume.

    Values: ``bias``, the mean signed difference (above 0: outlined too large), and ``error``, the mean absolute one.
    Cases whose truth is empty are left out.
    """

    higher_is_better = False

    def update(self, grounding: Grounding, truth: Mask | None, label: str, *, patient: str | None = None) -> None:
        """Adds an answered row; the truth is on the scan's grid, [k j i]."""
        if truth is not None:
            self.add_masks(grounding.mask, truth, patient)

    def add_masks(self, mask: Mask, truth: Mask, patient: str | None = None) -> None:
        """Adds two masks on one grid."""
        if truth.any():
            difference = float(mask.sum()) / float(truth.sum()) - 1
            self._add([difference, abs(difference)], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """The values of all rows [case column]."""
        return {"bias": mean_of(rows[:, 0]), "error": mean_of(rows[:, 1])}


def main() -> None:
    """Three cases of two patients: one right, one 50% too large, one 50% too small."""
    truth = np.zeros((1, 10, 10), bool)
    truth[:, :4, :5] = True
    larger, smaller = truth.copy(), truth.copy()
    larger[:, 4:6, :5] = True
    smaller[:, 2:4, :5] = False
    metric = VolumeDifference()
    for mask, patient in ((truth, "a"), (larger, "a"), (smaller, "b")):
        metric.add_masks(mask, truth, patient)
    for name, interval in metric.intervals().items():
        print(f"{name}: {interval.value:.2f}, 95% interval {interval.low:.2f} to {interval.high:.2f}")


if __name__ == "__main__":
    main()
