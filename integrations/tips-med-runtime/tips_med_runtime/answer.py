"""The answer to a question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med_runtime.grounding.answer import Decision, Instance, State
from tips_med_runtime.grounding.wording import REASONS, place_in_words
from tips_med_runtime.query import Query
from tips_med_runtime.resampling import resample
from tips_med_runtime.scan import Scan
from tips_med_runtime.shapes import Affine, Heat, Labels, Mask


@dataclass(frozen=True, eq=False)
class Answer:
    """Where it is, whether it is there, and the basis of that.

    Attributes:
        query: The question.
        scan: The scan that was asked.
        presence: Present, absent or unsure, with score, probability, assessed share of the region, and reasons.
        heat: Scores, [slab y x]: 0 outside the searched region, NaN where the scan measured nothing.
        lps_from_heat: Maps (slab, y, x, 1) to LPS in mm.
        labels: Numbers of the instances on the scan's own grid, uint8 [k j i]; 0 outside all.
        instances: Components of the mask, highest score first, with side, volume and place.
        peak_lps: Place of the strongest evidence, LPS in mm; also where the answer is ``absent``.
        model: Name and short hash of the weights.
    """

    query: Query
    scan: Scan
    presence: Decision
    heat: Heat
    lps_from_heat: Affine
    labels: Labels
    instances: tuple[Instance, ...]
    peak_lps: tuple[float, float, float]
    model: str

    @property
    def state(self) -> State:
        """``present``, ``absent`` or ``unsure``."""
        return self.presence.state

    @property
    def mask(self) -> Mask:
        """Where it is, on the scan's own grid, bool [k j i]. An empty one alone does not say that nothing is there."""
        return np.asarray(self.labels > 0)

    def heat_on_scan(self) -> np.ndarray:
        """The map on the scan's own grid, float32 [k j i]; NaN where nothing was measured, or beyond the body's box."""
        heat = resample(self.heat, self.lps_from_heat, self.scan.lps_from_kji, self.scan.shape)
        return np.where(np.isnan(self.scan.voxels), np.float32("nan"), heat)

    def __str__(self) -> str:
        """The answer in words."""
        decision = self.presence
        sure = "not calibrated" if decision.probability is None else f"probability {decision.probability:.2f}"
        parts = [f"{self.query.text}: {decision.state} ({sure})"]
        if self.instances:
            one = self.instances[0]
            where = place_in_words(one) or "at its peak"
            parts.append(f"{where}, {one.volume_ml:.2g} ml, long axis {one.long_axis_mm:.0f} mm")
        parts += [REASONS[reason] for reason in decision.reasons]
        return "; ".join(parts)
