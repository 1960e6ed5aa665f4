"""The measures of ReXGroundingCT, as its evaluation script ``rexrank_eval.py`` defines them.

Source: Baharoon 2025, arXiv:2507.22030; rexrank.ai/ReXGroundingCT; ``rexrank_eval.py`` beside the data set on the
Hugging Face hub (rajpurkarlab/ReXGroundingCT). What it does, where the paper leaves it open:

- A truth is the stored labels of a finding: each label is an instance, whatever its size, and no component is
  searched in it. A truth without instance labels is one instance.
- A prediction is cut into 18-connected components; those of fewer than 10 voxels are dropped, and of the rest the 50
  largest are kept. The Dice and the hit of a finding are those of what is left.
- Components and instances are matched one to one, the pair with the highest Dice first, from a Dice of 0.2 on.
- Counts are pooled over all findings. Precision and recall without anything to count are 1, F1 is then 1 or 0.
- An empty prediction for an empty truth has a Dice of 1 and is a hit.
- ``--global_only`` leaves out the instances and does not filter predictions.

The definition was read from a public copy of the script; masks of the data set itself were not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.detection import find_components, match_components
from tips_med.metrics.inputs import ArrayLike, as_instances, as_mask, box_of, split_cases
from tips_med.metrics.overlap import dice

MIN_VOXELS, MAX_INSTANCES = 10, 50
MIN_DICE, MIN_HIT_DICE = 0.2, 0.1


class ReXGroundingCT(CaseMetric):
    """Dice, hit rate and instance precision, recall and F1, as ReXGroundingCT's script counts them.

    Values: ``rex_dice``, the mean over findings; ``rex_hit_rate``, the share with a Dice of at least 0.1;
    ``rex_precision``, ``rex_recall`` and ``rex_f1`` of instances. With ``global_only`` ``rex_global_dice`` and
    ``rex_global_hit_rate`` alone, of unfiltered predictions.

    Args:
        global_only: Whether to leave out instances, and to take predictions as they are, as the script's option does.
    """

    higher_is_better = True

    def __init__(self, global_only: bool = False) -> None:
        super().__init__()
        self.global_only = global_only

    def update(
        self, mask: ArrayLike, instances: ArrayLike, *, patient: str | Sequence[str | None] | None = None
    ) -> None:
        """Adds findings.

        Args:
            mask: Predicted mask [k j i], or a batch [b c k j i].
            instances: Stored labels of the truth on the same grid: 0 outside, one number an instance.
            patient: Patient, or one for each item of a batch.
        """
        arrays = {"mask": as_mask(mask), "truth": as_instances(instances, "truth")}
        for who, (predicted, labels) in split_cases(patient, **arrays):
            self._add(self._measure(predicted, labels), who)

    def _measure(self, mask: np.ndarray, labels: np.ndarray) -> list[float]:
        truth = labels > 0
        counts = (0, 0, 0)
        box = box_of(mask | truth)
        if box is not None and not self.global_only:
            components, count = find_components(mask[box], MIN_VOXELS, MAX_INSTANCES)
            own = labels[box]
            names = np.unique(own[own > 0])
            numbered = np.where(own > 0, np.searchsorted(names, own) + 1, 0)
            counts = match_components(components, count, numbered, len(names), MIN_DICE)
            mask, truth = components > 0, truth[box]
        overlap = dice(mask, truth)
        return [overlap, float(overlap >= MIN_HIT_DICE), *map(float, counts)]

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        values = {"dice": mean_of(rows[:, 0]), "hit_rate": mean_of(rows[:, 1])}
        if self.global_only:
            return {f"rex_global_{name}": value for name, value in values.items()}
        matched, false_positive, missed = rows[:, 2:].sum(0)
        precision = _share(matched, false_positive)
        recall = _share(matched, missed)
        total = precision + recall
        f1 = 2 * precision * recall / total if float(total) else torch.zeros(())
        values |= {"precision": precision, "recall": recall, "f1": f1}
        return {f"rex_{name}": value.float() for name, value in values.items()}


def _share(matched: Tensor, wrong: Tensor) -> Tensor:
    """The share of matched ones; 1 where there is nothing to count, as the script has it."""
    whole = matched + wrong
    return matched / whole if float(whole) else torch.ones(())
