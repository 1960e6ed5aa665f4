"""Does the map follow the words? Swap tests and paraphrases.

A model that has learned "mass, therefore the left lower lobe" scores well until a word is changed. The swap test
queries the same scan with one word changed (left for right, upper for lower, a finding for another one) and compares
with the truth of the unchanged phrase: the mask has to leave it. It is Winoground's idea (Thrush 2022) for maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, as_mask, split_cases
from tips_med.metrics.overlap import dice


class SwapTest(CaseMetric):
    """Compares the right words with one word swapped; the truth is that of the right words.

    Only cases in which the swapped phrase is false are meaningful; the caller has to ensure that.

    Values: ``follows``, the share of cases in which the right words overlap more with the truth than the swapped
    ones, a tie counting as a failure; ``drop``, the mean loss of Dice by swapping; ``leak``, the mean share of the
    truth that is still marked.
    """

    higher_is_better = True

    def update(
        self,
        mask: ArrayLike,
        swapped: ArrayLike,
        truth: ArrayLike,
        *,
        patient: str | Sequence[str | None] | None = None,
    ) -> None:
        """Adds a case, or a batch: masks of the right and of the swapped words, and the truth, on one grid."""
        arrays = {"mask": as_mask(mask), "swapped": as_mask(swapped, "swapped mask"), "truth": as_mask(truth, "truth")}
        for who, (own, other, true) in split_cases(patient, **arrays):
            if true.any():
                right, wrong = dice(own, true), dice(other, true)
                self._add([float(right > wrong), right - wrong, float(other[true].mean())], who)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"follows": mean_of(rows[:, 0]), "drop": mean_of(rows[:, 1]), "leak": mean_of(rows[:, 2])}


class ParaphraseStability(CaseMetric):
    """Compares wordings of one meaning: ``stability`` is the mean Dice between all pairs of their masks.

    ``spread`` is the mean, over cases, of the standard deviation of the probability of presence.
    """

    higher_is_better = True

    def update(self, masks: Sequence[ArrayLike], probabilities: Sequence[float], *, patient: str | None = None) -> None:
        """Adds a case: for every wording its mask, [k j i] on one grid, and its probability of presence."""
        if len(masks) > 1:
            pairs = [dice(one, other) for one, other in combinations(masks, 2)]
            self._add([float(np.mean(pairs)), float(np.std(probabilities))], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        none = torch.full((1,), torch.nan)
        return {name: mean_of(rows[:, n] if len(rows) else none) for n, name in enumerate(("stability", "spread"))}
