"""How well a map finds the slices of a finding, as far as a report's cited images can tell."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.shapes import Profile, Slices, Voxels


def axial_profile(heat: Voxels) -> Profile:
    """The highest value of every slice, [k]; NaN where nothing of a slice was seen.

    Args:
        heat: Map, [k j i]; NaN where nothing was seen.
    """
    highest = np.where(np.isnan(heat), -np.inf, heat).max(axis=(1, 2))
    return np.where(np.isneginf(highest) & np.isnan(heat).all(axis=(1, 2)), np.nan, highest)


class AxialRPrecision(CaseMetric):
    """R-precision of slices: of the R true ones, the share among the R highest of the axial profile.

    R-precision is information retrieval's (Buckley and Voorhees 2000, doi:10.1145/345508.345543), the slices being
    the documents. Where slices tie for the last places, each counts by the chance that it is drawn. Cases without a
    true slice that was seen are left out.
    """

    higher_is_better = True

    def update(self, heat: Voxels, slices: Slices, *, patient: str | None = None) -> None:
        """Adds a case: the map [k j i] (NaN where nothing was seen), and whether each slice is a true one, bool [k]."""
        profile = axial_profile(heat)
        seen = ~np.isnan(profile)
        true = slices & seen
        wanted = int(true.sum())
        if not wanted:
            return
        last = np.sort(profile[seen])[-wanted]
        above, tied = seen & (profile > last), seen & (profile == last)
        drawn = (wanted - int(above.sum())) / int(tied.sum())
        self._add([(int((above & true).sum()) + drawn * int((tied & true).sum())) / wanted], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"axial_r_precision": mean_of(rows[:, 0])}


class AxialError(CaseMetric):
    """Mean axial error: how far the highest slice of the axial profile lies from the nearest true one, in mm.

    0 where it is a true one. Slices that tie for the highest count by their mean. Cases without a true slice, or in
    which nothing was seen, are left out.
    """

    higher_is_better = False

    def update(self, heat: Voxels, slices: Slices, step_mm: float, *, patient: str | None = None) -> None:
        """Adds a case.

        Args:
            heat: Map, [k j i]; NaN where nothing was seen.
            slices: Whether each slice is a true one, bool [k].
            step_mm: Distance between slices along their normal.
            patient: Key of the patient.
        """
        profile = axial_profile(heat)
        seen = ~np.isnan(profile)
        if not slices.any() or not seen.any():
            return
        highest = np.flatnonzero(seen & (profile == profile[seen].max()))
        away = np.abs(highest[:, None] - np.flatnonzero(slices)).min(axis=1)
        self._add([float(away.mean()) * step_mm], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"axial_error_mm": mean_of(rows[:, 0])}
