"""Metrics that keep a row of numbers for every case, so that patients can be drawn again."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

if TYPE_CHECKING:
    from tips_med.grounding import Grounding
    from tips_med.shapes import Mask


@dataclass(frozen=True)
class Interval:
    """A value with its percentile bootstrap interval; NaN where it is not defined.

    Attributes:
        value: Value over all cases.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


class CaseMetric(Metric):
    """A metric of many cases, each of one patient.

    A subclass turns one case into a row of numbers (in ``update``, which ends with ``_add``) and all rows into values
    (``summarise``). Rows are concatenated across processes, so distributed evaluation needs nothing more.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    rows: list[Tensor]
    patients: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("patients", [], dist_reduce_fx="cat")

    @abstractmethod
    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """Values by name, of rows [case column]; NaN where nothing defines them."""

    @property
    def cases(self) -> int:
        """The number of added cases."""
        return len(dim_zero_cat(self.rows)) if len(self.rows) else 0

    def counts(self) -> dict[str, int]:
        """The number of cases behind values that are not of all cases, by name."""
        return {}

    def extend(self, other: CaseMetric) -> None:
        """Takes over the cases of another metric of the same kind."""
        self.rows.extend(other.rows)
        self.patients.extend(other.patients)
        self._update_count += other._update_count
        self._computed = None

    def compute(self) -> dict[str, Tensor]:
        """The values over all cases; an empty dictionary before the first."""
        return self.summarise(dim_zero_cat(self.rows)) if len(self.rows) else {}

    def intervals(self, draws: int = 1000, confidence: float = 0.95, seed: int = 0) -> dict[str, Interval]:
        """Percentile bootstrap over patients (Efron 1979): all cases of a patient are drawn together.

        Cases of one patient are not independent, so drawing cases would make the intervals too narrow. A case without
        a patient is a patient of its own.

        Args:
            draws: Number of draws of patients with replacement, 1 or more.
            confidence: Confidence level of the interval, 0 to 1.
            seed: Random seed of the draws (integer, 0 or more).

        Returns:
            Intervals by name; without ends (NaN) where all cases are of one patient.
        """
        if not len(self.rows):
            return {}
        rows, patients = dim_zero_cat(self.rows), dim_zero_cat(self.patients).cpu().numpy()
        alone = patients == 0
        own = np.where(alone, -1 - np.arange(len(patients)), patients)
        _, group = np.unique(own, return_inverse=True)
        members = [np.flatnonzero(group == n) for n in range(group.max() + 1)]
        rng = np.random.default_rng(seed)
        values = {name: float(value) for name, value in self.summarise(rows).items()}
        if len(members) == 1:
            return {name: Interval(value, float("nan"), float("nan")) for name, value in values.items()}
        drawn: dict[str, list[float]] = {name: [] for name in values}
        for _ in range(draws):
            some = np.concatenate([members[n] for n in rng.integers(len(members), size=len(members))])
            for name, value in self.summarise(rows[torch.from_numpy(some)]).items():
                drawn[name].append(float(value))
        tail = 50 * (1 - confidence)
        return {name: Interval(value, *_percentiles(drawn[name], tail)) for name, value in values.items()}

    def _add(self, row: list[float], patient: str | None) -> None:
        self._add_all([row], patient)

    def _add_all(self, rows: list[list[float]], patient: str | None) -> None:
        """Adds the rows of one patient."""
        self.rows.append(torch.tensor(rows, dtype=torch.float64, device=self.device))
        self.patients.append(torch.full((len(rows),), _number(patient), dtype=torch.int64, device=self.device))


class GroundingMetric(CaseMetric):
    """A metric of whole answers, so that ``evaluate`` can use it without knowing it.

    A package adds one by an entry point of the group ``tips_med.metrics`` that names a subclass. Its class docstring's
    first line stands beside its values on the page.
    """

    @abstractmethod
    def update(self, grounding: Grounding, truth: Mask | None, label: str, *, patient: str | None = None) -> None:
        """Adds an answered row; ends with ``_add`` where the metric applies, and does nothing otherwise.

        Args:
            grounding: Answer to the row.
            truth: True mask on the scan's grid, bool [k j i]; None where there is no outline.
            label: True label: ``present``, ``absent`` or ``unknown``.
            patient: Key of the patient.
        """


def mean_of(column: Tensor) -> Tensor:
    """The mean of the defined values; NaN when there is none."""
    return column[~column.isnan()].mean().float() if bool((~column.isnan()).any()) else torch.tensor(torch.nan)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """A ratio, NaN when the whole is zero."""
    return (part / whole).float() if float(whole) else torch.tensor(torch.nan)


def _number(patient: str | None) -> int:
    """The same positive number for a patient in every process; 0 for none."""
    if patient is None:
        return 0
    return 1 + int.from_bytes(hashlib.sha256(patient.encode()).digest()[:7], "big")


def _percentiles(values: list[float], tail: float) -> tuple[float, float]:
    defined = np.array([value for value in values if not np.isnan(value)])
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)
