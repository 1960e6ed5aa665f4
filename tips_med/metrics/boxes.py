"""Boxes around what a phrase names: the measure of referring expressions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, MetricInputError, as_array


def box_iou(box: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boxes: their lower corner, then their upper one, [4] or [6].

    A box that is NaN is no box: 0.
    """
    half = len(box) // 2
    if not (np.isfinite(box).all() and np.isfinite(truth).all()):
        return 0.0
    both = np.prod(np.clip(np.minimum(box[half:], truth[half:]) - np.maximum(box[:half], truth[:half]), 0, None))
    union = np.prod(box[half:] - box[:half]) + np.prod(truth[half:] - truth[:half]) - both
    return float(both / union) if union > 0 else 0.0


class BoxAccuracy(CaseMetric):
    """Is the intersection over union of the box with the true one above a half?

    The accuracy of referring expressions (Yu 2016, RefCOCO, arXiv:1608.00272; Mao 2016, arXiv:1511.02283), for boxes of
    two or three axes. Values: ``box_accuracy``, and ``box_iou``, the mean of the intersection over union. Cases whose
    true box is NaN (nothing is there) are left out; a predicted box that is NaN (none was given) is wrong.

    Args:
        threshold: Intersection over union from which a box is right, above 0, at most 1; RefCOCO's is 0.5.
    """

    higher_is_better = True

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise MetricInputError(f"the threshold is {threshold:g}", expected="above 0, at most 1")
        self.threshold = threshold

    def update(self, box: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch.

        Args:
            box: Predicted box, lower corner then upper corner, in any unit: [4], [6], or a batch of them [n 4], [n 6].
            truth: True box, the same.
            patient: Patient, or one for each case.

        Raises:
            MetricInputError: Shapes differ, are of another number of axes, or a corner is on the wrong side.
        """
        boxes, truths = (np.atleast_2d(as_array(one).astype(np.float64)) for one in (box, truth))
        if boxes.shape != truths.shape or boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
            raise MetricInputError(
                f"the box is {boxes.shape} and the truth {truths.shape}",
                expected="the same shape: [4] in two axes, [6] in three, or a batch [n 4] or [n 6]",
            )
        half = boxes.shape[1] // 2
        for name, one in (("box", boxes), ("truth", truths)):
            if (one[:, half:] < one[:, :half]).any():
                raise MetricInputError(
                    f"a {name} ends before it starts",
                    expected="the lower corner, then the upper one",
                    remedy="convert (corner, size) and (centre, size) first",
                )
        who = [patient] * len(boxes) if patient is None or isinstance(patient, str) else list(patient)
        if len(who) != len(boxes):
            raise MetricInputError(f"{len(who)} patients for {len(boxes)} boxes", expected="one for each")
        for own, true, one in zip(boxes, truths, who):
            if np.isfinite(true).all():
                iou = box_iou(own, true)
                self._add([float(iou >= self.threshold), iou], one)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        none = torch.full((1,), torch.nan)
        return {name: mean_of(rows[:, n] if len(rows) else none) for n, name in enumerate(("box_accuracy", "box_iou"))}
