"""Mean fissures, fitted to the true lobes of some lungs, and how well they hold for another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.lobes.truth import LOBES, STEP_MM, FissuredLung
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.lobes import LungFrame, MeanFissures, frame_of_lung

SAMPLES = 12_000
"""Voxels of each lung that a surface is fitted to."""

RIDGE = 1e-4
"""Weight of the squares of the coefficients: it only keeps them finite."""


def frame_of(lung: FissuredLung, side: int) -> LungFrame:
    """The coordinates of a lung that is shown whole, by the same rules as in a scan."""
    mask = lung.lungs == side
    slabs = np.flatnonzero(mask.any(axis=(1, 2)))
    height = np.full(len(mask), np.nan)
    height[slabs[0] : slabs[-1] + 1] = (np.arange(slabs[-1] - slabs[0] + 1) + 0.5) / (slabs[-1] - slabs[0] + 1)
    return frame_of_lung(mask, side, np.full(3, STEP_MM), height)


def fit(lungs: Sequence[FissuredLung], margin_mm: float = 0.0) -> MeanFissures:
    """Fits the three fissures: logistic regressions of what lies on either side of each.

    Args:
        lungs: Lungs to fit to; each counts as much as the others.
        margin_mm: Margin to hold with them.
    """
    lower = {RIGHT: [LOBES[RIGHT, "lower"]], LEFT: [LOBES[LEFT, "lower"]]}
    oblique = {side: _boundary(lungs, side, lower[side], ()) for side in (RIGHT, LEFT)}
    horizontal = _boundary(lungs, RIGHT, [LOBES[RIGHT, "upper"]], lower[RIGHT])
    return MeanFissures(oblique, horizontal, margin_mm)


def _boundary(lungs: Sequence[FissuredLung], side: int, inside: Sequence[int], without: Sequence[int]) -> np.ndarray:
    """A plane that has some lobes above zero, and the others of the side below."""
    designs, targets = [], []
    rng = np.random.default_rng(0)
    for lung in lungs:
        frame = frame_of(lung, side)
        places = np.argwhere((lung.lungs == side) & ~np.isin(lung.lobes, without))
        places = places[rng.choice(len(places), SAMPLES)]
        own = np.stack([axis[places[:, n]] for n, axis in enumerate(frame.along)], axis=1) - 0.5
        designs.append(np.column_stack([np.ones(len(own)), own]))
        targets.append(np.isin(lung.lobes[tuple(places.T)], inside))
    design, sign = np.concatenate(designs), np.where(np.concatenate(targets), 1.0, -1.0)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        raised = sign * (design @ coefficients)
        slope = -(design * (sign * expit(-raised))[:, None]).mean(axis=0)
        return float(np.logaddexp(0, -raised).mean() + RIDGE * coefficients @ coefficients), slope + (
            2 * RIDGE * coefficients
        )

    return minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B").x
