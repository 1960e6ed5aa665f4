"""Free-response receiver operating characteristic: found nodules against false marks, as LUNA16 reports it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from monai.metrics.froc import compute_froc_curve_data, compute_froc_score
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from tips_med.geometry import transform_points, voxel_volume_mm3
from tips_med.metrics.base import CaseMetric
from tips_med.metrics.inputs import ArrayLike, MetricInputError, as_array, as_instances
from tips_med.shapes import Affine

FALSE_MARKS = {"1_8": 0.125, "1_4": 0.25, "1_2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}
"""Mean numbers of false marks a scan at which sensitivity is read, by their names in values."""

_SCAN, _NODULE, _FALSE = 0.0, 1.0, 2.0
"""Kinds of rows."""


@runtime_checkable
class Nodules(Protocol):
    """Nodules, known in whatever way: ``Spheres``, ``Outlines``, or what somebody else makes of them."""

    def sizes_mm(self) -> np.ndarray:
        """Diameters in mm [nodule]."""
        ...

    def hits(self, marks: np.ndarray) -> np.ndarray:
        """Which nodules are hit by which marks (LPS in mm [m 3]), bool [nodule mark]."""
        ...


@dataclass(frozen=True, eq=False)
class Spheres:
    """Nodules by centre and diameter. A mark hits one that it is no farther from than its radius.

    Attributes:
        centres_lps: Centres, LPS in mm [n 3].
        diameters_mm: Diameters in mm [n].

    Raises:
        MetricInputError: Shapes differ, or a number is not finite, or a diameter not above 0.
    """

    centres_lps: ArrayLike
    diameters_mm: ArrayLike

    def __post_init__(self) -> None:
        centres, diameters = as_points(self.centres_lps, "nodules"), as_scores(self.diameters_mm, "diameters")
        if len(centres) != len(diameters):
            raise MetricInputError(f"{len(diameters)} diameters for {len(centres)} centres", expected="one for each")
        if (diameters <= 0).any():
            raise MetricInputError(f"a diameter is {diameters.min():g} mm", expected="diameters above 0")
        object.__setattr__(self, "centres_lps", centres)
        object.__setattr__(self, "diameters_mm", diameters)

    def sizes_mm(self) -> np.ndarray:
        """Diameters in mm [nodule]."""
        return as_array(self.diameters_mm)

    def hits(self, marks: np.ndarray) -> np.ndarray:
        """Which nodules are hit by which marks (LPS in mm [m 3]), bool [nodule mark]."""
        apart = np.linalg.norm(as_array(self.centres_lps)[:, None] - marks[None], axis=-1)
        return apart <= self.sizes_mm()[:, None] / 2


@dataclass(frozen=True, eq=False)
class Outlines:
    """Nodules by a label map. A mark hits one that the nearest voxel belongs to.

    The size of a nodule is the diameter of the sphere of its volume.

    Attributes:
        labels: Labels from 1, 0 outside, whole numbers [k j i]; a bool mask is one nodule.
        lps_from_kji: Maps (k, j, i, 1) of the labels to LPS in mm.

    Raises:
        MetricInputError: These are no labels.
    """

    labels: ArrayLike
    lps_from_kji: Affine

    def __post_init__(self) -> None:
        labels = as_instances(self.labels)
        if labels.ndim != 3:
            raise MetricInputError(f"the labels are {labels.shape}", expected="three axes [k j i] of one scan")
        object.__setattr__(self, "labels", labels)

    def sizes_mm(self) -> np.ndarray:
        """Diameters in mm [nodule], in the order of the labels."""
        _, voxels = self._found()
        return np.cbrt(6 / np.pi * voxels * voxel_volume_mm3(self.lps_from_kji))

    def hits(self, marks: np.ndarray) -> np.ndarray:
        """Which nodules are hit by which marks (LPS in mm [m 3]), bool [nodule mark]."""
        labels, numbers = as_array(self.labels), self._found()[0]
        index = np.rint(transform_points(np.linalg.inv(self.lps_from_kji), marks)).astype(int).reshape(-1, 3)
        within = ((index >= 0) & (index < labels.shape)).all(axis=1)
        at = np.zeros(len(marks), np.int64)
        at[within] = labels[tuple(index[within].T)]
        return numbers[:, None] == at[None]

    def _found(self) -> tuple[np.ndarray, np.ndarray]:
        numbers, voxels = np.unique(as_array(self.labels), return_counts=True)
        return numbers[numbers > 0], voxels[numbers > 0]


class FROC(CaseMetric):
    """Sensitivity against the mean number of false marks a scan, and the mean of seven of these sensitivities.

    The measure of LUNA16 (Setio 2017, Medical Image Analysis 42, doi:10.1016/j.media.2017.06.015). A mark in a nodule
    is a hit, several in one nodule count once by the highest of their scores, one mark in two nodules hits both. A mark
    in an excluded finding (readers disagree) is neither hit nor false. All others are false. Marks and nodules of all
    scans are pooled, and the threshold on the score moves over all of them together.

    Values: ``sensitivity_at_1_8`` to ``sensitivity_at_8`` false marks a scan, ``cpm``, their mean (competition
    performance metric, Niemeijer 2011, IEEE TMI 30), and ``sensitivity``, that at all marks. Each is given again for
    nodules of each size, as ``cpm_below_6_mm`` and ``cpm_from_6_mm``; false marks have no size and count for every one.
    NaN where there is no nodule of the size. Between two numbers of false marks the curve is linear, as LUNA16's script
    and MONAI have it: with n scans, values below 1 / n false marks a scan lie between none and one in all scans.

    Curve and values are MONAI's (``monai.metrics.froc``). Its matching is not used: that takes whole voxels of a label
    map (no radius in mm, no mark in two nodules), and gives a missed nodule the score 0, which a logit may be below.

    Args:
        sizes_mm: Diameters in mm that part the sizes, rising; none for no strata.

    Raises:
        MetricInputError: Sizes do not rise, or are not above 0.
    """

    higher_is_better = True

    def __init__(self, sizes_mm: Sequence[float] = (6.0,)) -> None:
        super().__init__()
        self.sizes_mm = tuple(float(size) for size in sizes_mm)
        if any(low >= high for low, high in zip((0.0, *self.sizes_mm), self.sizes_mm)):
            raise MetricInputError(f"the sizes are {sizes_mm}", expected="rising diameters in mm, above 0")

    def update(
        self,
        marks_lps: ArrayLike,
        scores: ArrayLike,
        truth: Nodules,
        excluded: Nodules | Sequence[Nodules] = (),
        *,
        patient: str | None = None,
    ) -> None:
        """Adds a scan.

        Args:
            marks_lps: Centres of the marks, LPS in mm [m 3]; none is [0 3].
            scores: Their scores [m], any finite numbers: the higher the surer.
            truth: Nodules of the scan.
            excluded: Findings that are neither to be marked nor to be left out.
            patient: Key of the patient. Scans without one are patients of their own.

        Raises:
            MetricInputError: Shapes differ, or a mark or score is not finite: what has no score is no mark, and would
                otherwise vanish from the false ones.
        """
        marks, given = as_points(marks_lps, "marks"), as_scores(scores, "scores")
        if len(marks) != len(given):
            raise MetricInputError(f"{len(given)} scores for {len(marks)} marks", expected="one for each")
        hits, sizes = truth.hits(marks), truth.sizes_mm()
        false = ~hits.any(axis=0)
        for one in excluded if isinstance(excluded, Sequence) else (excluded,):
            false &= ~one.hits(marks).any(axis=0)
        best = np.where(hits, given, -np.inf).max(axis=1, initial=-np.inf)
        rows = [[_SCAN, np.nan, np.nan]]
        rows += [[_NODULE, score, size] for score, size in zip(best.tolist(), sizes.tolist())]
        rows += [[_FALSE, score, np.nan] for score in given[false].tolist()]
        if patient is None:  # all rows of a scan are drawn together
            content = [np.array([self.cases]), marks, given, sizes]
            patient = hashlib.sha256(b"".join(one.tobytes() for one in content)).hexdigest()
        self._add_all(rows, patient)

    @property
    def cases(self) -> int:
        """The number of added scans."""
        return int((dim_zero_cat(self.rows)[:, 0] == _SCAN).sum()) if len(self.rows) else 0

    def counts(self) -> dict[str, int]:
        """The number of nodules behind each value."""
        if not len(self.rows):
            return {}
        _, _, _, sizes = _parts(dim_zero_cat(self.rows))
        return {
            name: int(own.sum())
            for suffix, own in self._strata(sizes).items()
            for name in (f"{n}{suffix}" for n in _NAMES)
        }

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean numbers of false marks a scan, rising, and sensitivities; from none of both on.

        Raises:
            MetricInputError: No nodule was added.
        """
        scans, false, best, _ = _parts(dim_zero_cat(self.rows)) if len(self.rows) else (0, *[np.zeros(0)] * 3)
        if not len(best):
            raise MetricInputError("there is no nodule in any scan", expected="one or more for a curve")
        marks, found = _curve(false, best, scans)
        return marks[::-1], found[::-1]

    def summarise(self, rows: Tensor) -> dict[str, Tensor]:
        """See CaseMetric."""
        scans, false, best, sizes = _parts(rows)
        # Beyond 8 false marks a scan no value is read: fewer thresholds are quicker.
        beyond = int(max(FALSE_MARKS.values()) * scans)
        least = np.partition(false, -beyond - 1)[-beyond - 1] if len(false) > beyond else -np.inf
        values = {}
        for suffix, own in self._strata(sizes).items():
            numbers = [np.nan] * len(_NAMES)
            if own.any():
                kept = np.where(best[own] >= least, best[own], -np.inf)
                curve = _curve(false[false >= least], kept, scans)
                rates = tuple(FALSE_MARKS.values())
                numbers = [compute_froc_score(*curve, rates)]
                numbers += [compute_froc_score(*curve, (rate,)) for rate in rates]
                numbers += [np.isfinite(best[own]).mean()]
            for name, number in zip(_NAMES, numbers):
                values[f"{name}{suffix}"] = torch.tensor(float(number))
        return values

    def _strata(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Which nodules are of which size, by the ends of values' names; of any size first."""
        strata = {"": np.ones(len(sizes), bool)}
        edges = (0.0, *self.sizes_mm, np.inf)
        for low, high in itertools.pairwise(edges) if self.sizes_mm else ():
            name = f"from_{low:g}" if np.isinf(high) else f"{low:g}_to_{high:g}" if low else f"below_{high:g}"
            strata[f"_{name}_mm"] = (sizes >= low) & (sizes < high)
        return strata


_NAMES = ("cpm", *(f"sensitivity_at_{name}" for name in FALSE_MARKS), "sensitivity")


def as_points(values: ArrayLike, name: str) -> np.ndarray:
    """Places, LPS in mm [n 3].

    Args:
        values: Places [n 3].
        name: What they are, for messages.

    Raises:
        MetricInputError: They have another shape, or are not finite.
    """
    points = as_array(values).astype(np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise MetricInputError(f"the {name} are {points.shape}", expected="places in LPS mm [n 3]; none is [0 3]")
    return _finite(points, name)


def as_scores(values: ArrayLike, name: str) -> np.ndarray:
    """Numbers [n].

    Args:
        values: Numbers [n].
        name: What they are, for messages.

    Raises:
        MetricInputError: They have another shape, or are not finite.
    """
    numbers = as_array(values).astype(np.float64)
    if numbers.ndim != 1:
        raise MetricInputError(f"the {name} are {numbers.shape}", expected="one number for each [n]")
    return _finite(numbers, name)


def _finite(numbers: np.ndarray, name: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=tuple(range(1, numbers.ndim))))
    if len(bad):
        raise MetricInputError(
            f"number {bad[0]} of the {name} is {numbers[bad[0]]}",
            expected="finite numbers",
            remedy="leave out what has no place or no score before it is measured",
        )
    return numbers


def _parts(rows: Tensor) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The number of scans, scores of false marks, best scores of nodules (-inf: missed) and their sizes."""
    table = rows.detach().cpu().numpy()
    nodule = table[:, 0] == _NODULE
    return int((table[:, 0] == _SCAN).sum()), table[table[:, 0] == _FALSE, 1], table[nodule, 1], table[nodule, 2]


def _curve(false: np.ndarray, best: np.ndarray, scans: int) -> tuple[np.ndarray, np.ndarray]:
    """MONAI's curve. It leaves the lowest score out, being that of missed nodules: so there is always one at -inf."""
    return compute_froc_curve_data(np.append(false, -np.inf), best, len(best), scans)
