"""Measures of searching an archive: which scans were found, and whether the place in each is right.

A query ranks scans. Each scan is relevant or not, and a relevant one may have its finding outlined. A query is a case;
values are means over queries. Queries without any relevant scan define none of them and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from tips_med.metrics.base import CaseMetric, mean_of
from tips_med.metrics.inputs import ArrayLike, MetricInputError, as_array, as_mask


class RetrievalRecall(CaseMetric):
    """Share of the relevant scans that are among the first k, averaged over queries.

    Values: ``recall@1``, ``recall@10`` and so on (Manning, Raghavan and Schuetze 2008, Introduction to Information
    Retrieval, chapter 8.4). A query with more than k relevant scans cannot reach 1.

    Args:
        k: Numbers of first scans, each 1 or more.
    """

    higher_is_better = True

    def __init__(self, k: Sequence[int] = (1, 5, 10)) -> None:
        super().__init__()
        self.k = _checked(k)

    def update(self, scores: ArrayLike, relevant: ArrayLike, *, patient: str | None = None) -> None:
        """Adds a query.

        Args:
            scores: What scans are ranked by, the highest first, [scan]; equal ones stay in the given order.
            relevant: Which scans are relevant, [scan].
            patient: Group that queries are drawn by for intervals; None for a group of its own.
        """
        hits, total = _in_order(scores, relevant)
        if total:
            self._add([float(hits[:k].sum() / total) for k in self.k], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {f"recall@{k}": mean_of(rows[:, n]) for n, k in enumerate(self.k)}


class RetrievalMeanAveragePrecision(CaseMetric):
    """Mean average precision: the precision at the rank of each relevant scan, averaged over these, then over queries.

    Value: ``map`` (Manning, Raghavan and Schuetze 2008, chapter 8.4, as TREC counts). With ``k`` only the first k scans
    count, and the sum is divided by the smaller of k and the number of relevant scans: ``map@k``.

    Args:
        k: Number of first scans that count, 1 or more; None for all.
    """

    higher_is_better = True

    def __init__(self, k: int | None = None) -> None:
        super().__init__()
        self.k = None if k is None else _checked([k])[0]

    def update(self, scores: ArrayLike, relevant: ArrayLike, *, patient: str | None = None) -> None:
        """Adds a query; see ``RetrievalRecall.update``."""
        hits, total = _in_order(scores, relevant)
        if not total:
            return
        first = hits[: self.k]
        precision = np.cumsum(first) / np.arange(1, len(first) + 1)
        most = total if self.k is None else min(total, self.k)
        self._add([float(precision[first].sum() / most)], patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        return {"map" if self.k is None else f"map@{self.k}": mean_of(rows[:, 0])}


class RetrievalLocalization(CaseMetric):
    """Share of the relevant scans that are among the first k **and** whose peak lies in the outlined finding.

    Values: ``localization@k``, the share among all relevant scans with an outline that could be among the first k, and
    ``pointing@k``, the share among those that are. The test of a peak is the pointing game (Zhang 2018, Top-down neural
    attention by excitation backprop), without its tolerance; it is put together with recall here, since a scan that is
    found for the wrong place is not found.

    Args:
        k: Numbers of first scans, each 1 or more.
    """

    higher_is_better = True
    _EMPTY: ClassVar[float] = float("nan")

    def __init__(self, k: Sequence[int] = (1, 5, 10)) -> None:
        super().__init__()
        self.k = _checked(k)

    def update(
        self, scores: ArrayLike, relevant: ArrayLike, peak_inside: ArrayLike, *, patient: str | None = None
    ) -> None:
        """Adds a query.

        Args:
            scores: What scans are ranked by, the highest first, [scan]; equal ones stay in the given order.
            relevant: Which scans are relevant and have an outline, [scan].
            peak_inside: Whether the peak of each scan lies in the outline, see ``peak_in_mask``, [scan].
            patient: Group that queries are drawn by for intervals; None for a group of its own.
        """
        hits, total = _in_order(scores, relevant)
        inside, _ = _in_order(scores, peak_inside)
        if not total:
            return
        row = []
        for k in self.k:
            found, right = int(hits[:k].sum()), int((hits & inside)[:k].sum())
            row += [right / min(total, k), right / found if found else self._EMPTY]
        self._add(row, patient)

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        names = [name for k in self.k for name in (f"localization@{k}", f"pointing@{k}")]
        return {name: mean_of(rows[:, n]) for n, name in enumerate(names)}


def peak_in_mask(peak_lps: Sequence[float] | np.ndarray, truth: ArrayLike, lps_from_kji: ArrayLike) -> bool:
    """Whether a place lies in a mask.

    Args:
        peak_lps: Place, LPS in mm.
        truth: Mask [k j i].
        lps_from_kji: Maps (k, j, i, 1) of the mask to LPS in mm, 4 x 4.

    Raises:
        MetricInputError: The mask is no mask of three axes, or the place is not three numbers.
    """
    mask, place = as_mask(truth, "truth"), np.asarray(peak_lps, np.float64)
    if mask.ndim != 3 or place.shape != (3,):
        raise MetricInputError(
            f"the truth has {mask.ndim} axes and the place {place.size} numbers", expected="[k j i] and x, y, z"
        )
    if not np.isfinite(place).all():
        return False
    index = np.rint(np.linalg.solve(np.asarray(as_array(lps_from_kji), np.float64), np.append(place, 1))[:3]).astype(
        int
    )
    return bool(((index >= 0) & (index < mask.shape)).all() and mask[tuple(index)])


def _in_order(scores: ArrayLike, flags: ArrayLike) -> tuple[np.ndarray, int]:
    """Flags in the order of the ranking, and how many are set."""
    order, marks = as_array(scores).astype(np.float64), as_mask(flags, "relevance")
    if order.ndim != 1 or order.shape != marks.shape:
        raise MetricInputError(
            f"scores are {order.shape} and flags {marks.shape}", expected="one number and one flag a scan, [scan]"
        )
    if np.isnan(order).any():
        raise MetricInputError(
            "scores hold NaN", expected="a number for each scan", remedy="rank such scans last: -inf"
        )
    return marks[np.argsort(-order, kind="stable")], int(marks.sum())


def _checked(k: Sequence[int]) -> tuple[int, ...]:
    if not k or any(one < 1 for one in k):
        raise MetricInputError(f"k is {tuple(k)}", expected="whole numbers from 1 on")
    return tuple(k)
