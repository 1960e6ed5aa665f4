"""How well a registration fits: whether vessels lie on vessels.

Outlines of lungs are no test: a B-spline lays those of another patient on each other, too. The fine structure inside
them is (see ``docs/follow-up.md`` for what was measured on pairs of one patient, and of two).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tips_med.geometry import transform_points
from tips_med.shapes import Affine

MIN_CORRELATION = 0.75
"""Correlation of fine structure in the lungs below which a registration is poor (``docs/follow-up.md``)."""

MIN_LOCAL_CORRELATION = 0.65
"""The same near one finding."""

LOCAL_MM = 40.0
"""Radius of what is near a finding."""

MIN_CELLS = 150
"""Number of cells of lung below which a correlation says nothing."""

_STRUCTURE_HU = (-1000.0, -300.0)
_SMOOTH_MM = 12.0


@dataclass(frozen=True, eq=False)
class Quality:
    """Agreement of the prior scan, once moved, with the current one.

    Attributes:
        correlation: Correlation of fine structure (vessels, fissures) in the lungs that both show, -1 to 1; NaN where
            they share too little lung.
        lungs_dice: Dice of the lungs, of each scan's own outline, where both scans reach, 0 to 1.
        shared_fraction: Share of the current scan's lungs that the prior shows, 0 to 1.
        structure: Fine structure in HU of the prior and of the current scan, [2 k j i]; NaN beyond the shared lungs.
        lps_from_kji: Maps (k, j, i, 1) of ``structure`` to LPS in mm, in the current scan.
    """

    correlation: float
    lungs_dice: float
    shared_fraction: float
    structure: np.ndarray
    lps_from_kji: Affine

    @property
    def good(self) -> bool:
        """Whether places can be compared at all."""
        return bool(self.correlation >= MIN_CORRELATION)  # NaN is not

    def near(self, centre_lps: np.ndarray, leave_out: np.ndarray | None = None) -> float:
        """The correlation of fine structure within ``LOCAL_MM`` of a place; NaN where there is too little lung.

        Args:
            centre_lps: Place in the current scan, LPS in mm, [3].
            leave_out: Mask of cells to leave out, such as the finding itself: what changed is no fault of the
                registration. On the grid of ``structure``.
        """
        index = np.argwhere(np.isfinite(self.structure[0]) if leave_out is None else self._usable(leave_out))
        distance = np.linalg.norm(transform_points(self.lps_from_kji, index) - centre_lps, axis=1)
        index = index[distance <= LOCAL_MM]
        return _correlation(*(one[tuple(index.T)] for one in self.structure))

    def _usable(self, leave_out: np.ndarray) -> np.ndarray:
        return np.isfinite(self.structure[0]) & np.logical_not(ndimage.binary_dilation(leave_out, iterations=2))


def measure_quality(
    prior_hu: np.ndarray,
    current_hu: np.ndarray,
    prior_lungs: np.ndarray,
    current_lungs: np.ndarray,
    shared: np.ndarray,
    lps_from_kji: Affine,
    cell_mm: float,
) -> Quality:
    """Measures a registration.

    Args:
        prior_hu: Prior scan, moved onto the current one's grid, [k j i].
        current_hu: Current scan, [k j i].
        prior_lungs: Mask of the prior's lungs, moved, bool [k j i].
        current_lungs: Mask of the current scan's lungs, bool [k j i].
        shared: Mask of what both scans show, bool [k j i].
        lps_from_kji: Maps (k, j, i, 1) to LPS in mm.
        cell_mm: Edge of a cell in mm.
    """
    prior, current = prior_lungs & shared, current_lungs & shared
    both = prior & current
    cells = int(prior.sum() + current.sum())
    structure = np.stack([_fine_structure(hu, _SMOOTH_MM / cell_mm) for hu in (prior_hu, current_hu)])
    structure[:, ~both] = np.nan
    return Quality(
        correlation=_correlation(*(one[both] for one in structure)),
        lungs_dice=2 * int(both.sum()) / cells if cells else 0.0,
        shared_fraction=int(current.sum()) / max(1, int(current_lungs.sum())),
        structure=structure,
        lps_from_kji=lps_from_kji,
    )


def _fine_structure(hu: np.ndarray, sigma: float) -> np.ndarray:
    """What is left of the lung when its density, which breath and gravity change, is taken away."""
    hu = np.clip(hu, *_STRUCTURE_HU).astype(np.float32)
    return hu - ndimage.gaussian_filter(hu, sigma)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < MIN_CELLS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
