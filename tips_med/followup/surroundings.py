"""What one scan shows at the place where the other one has a finding: was it seen, was it searched, is it empty?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import spacing_mm, transform_points
from tips_med.grounding.evidence import MIN_LOGIT, evidence_within
from tips_med.grounding.ground import Assessment, assess
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.scan import Scan

MIN_SEEN = 0.9
"""Minimum share of a place that must be seen before anything is said to be missing there."""

AROUND_MM = 6.0
"""Margin around a place in which evidence counts as of it: registration is no finer."""


ALIKE_HU, ALIKE_SHARE = 150.0, 0.5
"""Two scans show the same tissue at a place where its mean density differs by less than this; for a whole finding,
also by less than this share of its contrast with the lung about it. A network may outline a vessel in one scan and not
in the next; that the vessel is still there shows in the values themselves. Thick slices blur what is small: some of its
contrast is lost though nothing went."""

RIM_MM = (4.0, 8.0)
"""How far from a finding the lung about it is measured: from beyond its blurred edge on."""

RIM_PERCENTILE = 25.0
"""Percentile of the densities about a finding that is taken for the lung's: vessels and the chest wall are denser."""

SHIFT_MM = 4.0
"""Error of the registration that this allows for, along each axis."""


@dataclass(frozen=True)
class Surroundings:
    """What a scan shows at a place.

    Attributes:
        seen_fraction: Share of the place that was measured, 0 to 1.
        searched_fraction: Share of it that lies in the searched region, 0 to 1.
        probability: Calibrated probability of the finding there, 0 to 1; None without a calibration.
        empty: Whether it is below the probability from which on the finding is not excluded.
        density_difference_hu: Difference in mean density between this place and the finding in the other scan, in
            Hounsfield units; the smallest one over shifts by up to ``SHIFT_MM``. Infinite where nothing was measured.
        looks_alike: Whether the tissue there is about as dense as the finding in the other scan: then nothing came or
            went.
    """

    seen_fraction: float
    searched_fraction: float
    probability: float | None
    empty: bool
    density_difference_hu: float
    looks_alike: bool


@dataclass(frozen=True)
class Tissue:
    """How dense a finding is, and the lung about it, in Hounsfield units; NaN where that was not measured.

    Attributes:
        density_hu: Mean density.
        around_hu: Density of what is about it.
    """

    density_hu: float
    around_hu: float

    @property
    def alike_below_hu(self) -> float:
        """Difference in mean density below which another scan shows the same tissue."""
        contrast = abs(self.density_hu - self.around_hu)
        return ALIKE_HU if np.isnan(contrast) else max(ALIKE_HU, ALIKE_SHARE * contrast)


def around(scan: Scan, mask: np.ndarray) -> float:
    """Density of what is about a finding, in Hounsfield units; NaN where nothing was measured.

    Args:
        scan: Scan that has it.
        mask: The finding, bool [k j i].
    """
    if not mask.any():
        return float("nan")
    reach = np.ceil(RIM_MM[1] / np.array(scan.spacing_mm)).astype(int)
    held = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(held, reach))
    distance_mm = np.asarray(ndimage.distance_transform_edt(~mask[box], sampling=scan.spacing_mm))
    values = scan.voxels[box][(distance_mm > RIM_MM[0]) & (distance_mm <= RIM_MM[1])]
    values = values[np.isfinite(values)]
    return float(np.percentile(values, RIM_PERCENTILE)) if len(values) else float("nan")


def unchanged_tissue(scan: Scan, points_lps: np.ndarray, density_hu: float) -> bool:
    """Whether a scan shows at a place what the other scan has there, so that nothing came or went.

    Args:
        scan: Scan to look at.
        points_lps: Points of the place in it, LPS in mm, [n 3].
        density_hu: Mean density of the place in the other scan, in Hounsfield units.
    """
    return _density_difference(scan, points_lps, density_hu) < ALIKE_HU


class Searched:
    """One scan, searched for one finding: answers about places.

    Args:
        study: Encoded scan.
        query: Query, parsed.
        model: Model that encoded it.
    """

    def __init__(self, study: EncodedStudy, query: Query, model: GroundingModel) -> None:
        self._study, self._query, self._model = study, query, model

    @cached_property
    def _found(self) -> Assessment:
        return assess(self._study, self._query, self._model)

    def at(self, points_lps: np.ndarray, tissue: Tissue) -> Surroundings:
        """What is at a place.

        Args:
            points_lps: Points of the place in this scan, LPS in mm, [n 3].
            tissue: The finding in the scan that has it.
        """
        found, scan = self._found, self._study.scan
        index, within = _indices(scan.lps_from_kji, points_lps, scan.shape)
        seen = np.zeros(len(points_lps), bool)
        seen[within] = np.isfinite(scan.voxels[tuple(index[within].T)])
        cells, reached = _indices(found.lps_from_heat, points_lps, found.heat.shape)
        where = np.zeros(found.heat.shape, bool)
        where[tuple(cells[reached].T)] = True
        searched = np.zeros(len(points_lps), bool)
        searched[reached] = found.regions["searched"].mask[tuple(cells[reached].T)]
        near = _dilated(where, AROUND_MM / spacing_mm(found.lps_from_heat))
        logit = float(evidence_within(found.heat, near)[near].max()) if near.any() else MIN_LOGIT
        calibration = found.calibration
        probability = None if calibration is None else calibration.probability(logit)
        empty = calibration is not None and probability is not None and probability < calibration.absent_below
        difference = _density_difference(scan, points_lps, tissue.density_hu)
        alike = difference < tissue.alike_below_hu
        return Surroundings(float(seen.mean()), float(searched.mean()), probability, empty, difference, alike)


def _density_difference(scan: Scan, points_lps: np.ndarray, density_hu: float) -> float:
    index_from_lps = np.linalg.inv(scan.lps_from_kji)
    steps = np.array(list(itertools.product((-SHIFT_MM, 0.0, SHIFT_MM), repeat=3)))
    index = transform_points(index_from_lps, (points_lps[None] + steps[:, None]).reshape(-1, 3))
    cells = np.rint(index).astype(int)
    within = ((cells >= 0) & (cells < scan.shape)).all(axis=1)
    values = np.full(len(cells), np.nan)
    values[within] = scan.voxels[tuple(cells[within].T)]
    values = values.reshape(len(steps), -1)
    known = np.isfinite(values)
    enough = known.mean(axis=1) >= MIN_SEEN
    if not enough.any() or not np.isfinite(density_hu):
        return float("inf")
    means = np.where(known, values, 0)[enough].sum(axis=1) / known[enough].sum(axis=1)
    return float(np.abs(means - density_hu).min())


def _indices(
    lps_from_index: np.ndarray, points_lps: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    index = np.rint(transform_points(np.linalg.inv(lps_from_index), points_lps)).astype(int)
    return index, np.asarray(((index >= 0) & (index < shape)).all(axis=1))


def _dilated(mask: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """A mask grown by an ellipsoid with half axes of ``cells``, worked on near the mask alone."""
    if not mask.any():
        return mask
    reach = np.ceil(cells).astype(int)
    grid = np.indices(tuple(2 * reach + 1)) - reach[:, None, None, None]
    ball = ((grid / np.maximum(cells, 1e-6)[:, None, None, None]) ** 2).sum(axis=0) <= 1
    held = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(held, reach))
    out = mask.copy()
    out[box] = ndimage.binary_dilation(mask[box], ball)
    return out
