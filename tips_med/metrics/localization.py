"""How well a map, before any threshold, points at the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, as_heat, as_mask, split_cases


class PointingGame(CaseMetric):
    """Is the highest value of the map in the truth (Zhang 2018, Excitation Backprop, IJCV)?

    Where several cells share the highest value, the score is the share of them that lies in the truth: a map that is
    the same everywhere earns nothing by its order in memory. Cases whose truth is empty are left out.
    """

    higher_is_better = True

    def update(self, heat: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch: the map (NaN where nothing was seen) and the truth, [k j i] or [b c k j i]."""
        for who, (own, true) in split_cases(patient, map=as_heat(heat), truth=as_mask(truth, "truth")):
            self._add_case(own, true, who)

    def _add_case(self, heat: np.ndarray, truth: np.ndarray, patient: str | None) -> None:
        known = np.isfinite(heat)
        if truth.any() and known.any():
            highest = known & (heat == heat[known].max())
            self._add([float(truth[highest].mean())], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"pointing": mean_of(rows[:, 0])}


class ContrastToNoise(CaseMetric):
    """Contrast-to-noise ratio ``|mean in - mean out| / sqrt(var in + var out)`` (Boecking 2022, BioViL, section 4.3).

    Cases without an inside or an outside, and maps without any variance, are left out.
    """

    higher_is_better = True

    def update(self, heat: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch: the map (NaN where nothing was seen) and the truth, [k j i] or [b c k j i]."""
        for who, (own, true) in split_cases(patient, map=as_heat(heat), truth=as_mask(truth, "truth")):
            self._add_case(own, true, who)

    def _add_case(self, heat: np.ndarray, truth: np.ndarray, patient: str | None) -> None:
        known = np.isfinite(heat)
        inside, outside = heat[known & truth].astype(np.float64), heat[known & ~truth].astype(np.float64)
        if inside.size and outside.size and (noise := inside.var() + outside.var()) > 0:
            self._add([float(abs(inside.mean() - outside.mean()) / np.sqrt(noise))], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"cnr": mean_of(rows[:, 0])}


class ThresholdIoU(CaseMetric):
    """Intersection over union, averaged over thresholds of the map (Boecking 2022, BioViL: 0.1 to 0.5).

    Cases whose truth is empty are left out: ``FalsePositiveVolume`` is for them.

    Args:
        thresholds: Thresholds of the map, each 0 to 1.
    """

    higher_is_better = True

    def __init__(self, thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)) -> None:
        super().__init__()
        self.thresholds = thresholds

    def update(self, heat: ArrayLike, truth: ArrayLike, *, patient: str | Sequence[str | None] | None = None) -> None:
        """Adds a case, or a batch: the map (0 to 1, NaN where not seen) and the truth, [k j i] or [b c k j i]."""
        for who, (own, true) in split_cases(
            patient, map=as_heat(heat, probability=True), truth=as_mask(truth, "truth")
        ):
            self._add_case(own, true, who)

    def _add_case(self, heat: np.ndarray, truth: np.ndarray, patient: str | None) -> None:
        if not truth.any():
            return
        row = []
        for threshold in self.thresholds:
            mask = np.nan_to_num(heat, nan=-np.inf) >= threshold
            row.append(int((mask & truth).sum()) / int((mask | truth).sum()))
        self._add(row, patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"miou": mean_of(rows.flatten() if rows.numel() else torch.full((1,), torch.nan))}
