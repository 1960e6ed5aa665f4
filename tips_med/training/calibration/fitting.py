"""Thresholds from observations: Platt's sigmoid, operating points, and where a map is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from tips_med.card import BALANCED, Calibration, ModelCard, OperatingPoint, OperatingPointName
from tips_med.training.calibration.observing import THRESHOLDS, Component, Observation

SECONDARY_LOGITS = (None, *np.arange(0.5, 7.1, 0.5).tolist())
"""Evidence that components beside the surest one may have to have."""

TOLERANCE = 0.025
"""How much less the mean of Dice and F1 may be, if more components are kept for it."""

MIN_POSITIVES = 6
"""Queries about what is there, below which nothing is fitted about masks and components."""

REAL_WEIGHT = 10.0
"""How much a real scan counts in a fit beside a painted one, which is only as real as its painter."""

POINTS: dict[OperatingPointName, tuple[float, float]] = {
    "sensitive": (0.02, 0.35),
    BALANCED: (0.05, 0.25),
    "specific": (0.10, 0.05),
}
"""For each operating point the share of findings that are there that may be called absent, and of those that are not
there, present."""

ABSENT_BELOW = 0.4
"""Highest probability below which anything is called absent. Where a few scans have a finding and all of them are told
apart, the share of ``POINTS`` is that of nobody; what is hardly less likely than not is then unsure, not absent."""


def kept_components(observation: Observation, threshold: float, min_logit: float | None) -> list[Component]:
    """The components of an answer: the surest one, and those that are sure enough to stand beside it."""
    components = [component for component in observation.components if component.threshold == threshold]
    return components[:1] + [one for one in components[1:] if min_logit is None or one.evidence >= min_logit]


def dice_of(observation: Observation, components: Sequence[Component]) -> float:
    """Dice of these components with what is there."""
    total = sum(component.ml for component in components) + observation.truth_ml
    return 2 * sum(component.in_truth_ml for component in components) / total if total else 1.0


def f1_of(observation: Observation, components: Sequence[Component]) -> float:
    """F1 of these components; one is right when half of it is."""
    right = min(
        sum(component.in_truth_ml >= 0.5 * component.ml for component in components), observation.truth_components
    )
    total = len(components) + observation.truth_components
    return 2 * right / total if total else 1.0


def fit_threshold(observations: Sequence[Observation]) -> tuple[float, float | None]:
    """Threshold of maps, and which components to keep, where something is there and outlined.

    At each threshold as many components are kept as is possible without losing more than ``TOLERANCE`` of the best mean
    of Dice and F1: most scans here have one finding of a kind, and would hide all but the surest of many. Of the
    thresholds, the one with the best Dice is taken: it decides how much is marked, and hardly what is found. An
    outlined real scan weighs as much as ``REAL_WEIGHT`` painted ones, as in ``fit_calibration``.

    Returns:
        ``threshold`` and ``min_logit`` of a ``Calibration``; its defaults when there is too little data.
    """
    there = [o for o in observations if o.there and o.outlined]
    if len(there) < MIN_POSITIVES or not any(o.components for o in there):
        return Calibration.threshold, Calibration.min_secondary_logit

    weights = [REAL_WEIGHT if o.patient else 1.0 for o in there]

    def mean(choice: tuple[float, float | None], *measures: Callable[..., float]) -> float:
        kept = [kept_components(o, *choice) for o in there]
        values = [sum(measure(o, one) for measure in measures) for o, one in zip(there, kept)]
        return float(np.average(values, weights=weights))

    def best_at(threshold: float) -> tuple[float, float | None]:
        sums = [mean((threshold, logit), dice_of, f1_of) for logit in SECONDARY_LOGITS]
        return threshold, next(logit for logit, s in zip(SECONDARY_LOGITS, sums) if s >= max(sums) - 2 * TOLERANCE)

    return max(map(best_at, THRESHOLDS), key=lambda one: mean(one, dice_of))


def fit_outline(observations: Sequence[Observation], own: float = Calibration.threshold) -> float:
    """Threshold of a structure's map: the best mean Dice of all of it, where it is there and outlined.

    Args:
        observations: Observations of the structure.
        own: Threshold that it has, 0 to 1: it stays where fewer than ``MIN_POSITIVES`` are outlined.
    """
    dices = [o.dices for o in observations if o.there and o.outlined and o.dices]
    if len(dices) < MIN_POSITIVES:
        return own
    return THRESHOLDS[int(np.mean(dices, axis=0).argmax())]


def fit_calibration(observations: Sequence[Observation], ridge: float = 0.02) -> Calibration:
    """Platt's sigmoid by maximum likelihood, with his smoothed targets and a slope that is never negative.

    Both classes weigh the same, whatever their numbers: how often a finding is there is the hospital's to know. A real
    scan weighs as much as ``REAL_WEIGHT`` painted ones. At each of ``POINTS`` an answer is absent
    below the probability that a share of what is there lies under, and present above the one that a share of what is
    not there lies over; what lies between is unsure. The thresholds are those of the balanced one.
    """
    x, there, weight = _weighed(observations)
    if there.all() or not there.any():
        return Calibration()
    n_there, n_not = int(there.sum()), int((~there).sum())
    target = np.where(there, (n_there + 1) / (n_there + 2), 1 / (n_not + 2))

    def loss(theta: np.ndarray) -> float:
        z = np.exp(theta[0]) * x + theta[1]
        return float((weight * (np.logaddexp(0, z) - target * z)).sum() + ridge * theta[0] ** 2)

    theta = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    threshold, min_secondary_logit = fit_threshold(observations)
    fitted = Calibration(
        slope=float(np.exp(theta[0])),
        intercept=float(theta[1]),
        threshold=threshold,
        min_secondary_logit=min_secondary_logit,
    )
    return replace(fitted, points=operating_points(fitted, observations)).at(BALANCED)


def operating_points(
    fitted: Calibration, observations: Sequence[Observation]
) -> dict[OperatingPointName, OperatingPoint]:
    """The thresholds of each of ``POINTS`` on the probabilities of a sigmoid, not measured yet.

    Args:
        fitted: Its slope and intercept are used.
        observations: Observations of what is there and of what is not.
    """
    x, there, weight = _weighed(observations)
    points: dict[OperatingPointName, OperatingPoint] = {}
    for name, (missed_fraction, false_fraction) in POINTS.items():
        missed = fitted.probability(_quantile(x[there], weight[there], missed_fraction))
        false = fitted.probability(_quantile(x[~there], weight[~there], 1 - false_fraction))
        absent_below = min(missed, ABSENT_BELOW)
        # Below an even chance only the sensitive point calls anything present.
        points[name] = OperatingPoint(absent_below, max(false, absent_below if name == "sensitive" else 0.5))
    return points


def _weighed(observations: Sequence[Observation]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence, truth and weight of each observation; the weights of either truth sum up to a half."""
    x = np.array([o.evidence for o in observations])
    there = np.array([o.there for o in observations], bool)
    weight = np.array([REAL_WEIGHT if o.patient else 1.0 for o in observations])
    for some in (there, ~there):
        weight[some] *= 0.5 / max(float(weight[some].sum()), 1e-12)
    return x, there, weight


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The value that a share of all weight lies below."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(share, below / weight.sum(), values[order]))


def fit_all(card: ModelCard, observations: Sequence[Observation]) -> dict[str, Calibration]:
    """A calibration for every term that was observed both there and not there, and for the structures."""
    fitted = {}
    for term in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == term]
        if any(o.there for o in own) and not all(o.there for o in own):
            fitted[term] = fit_calibration(own)
    # A structure such as a lung is present whenever its map reaches 0.5. Its pieces are never judged one by one.
    for structure in card.structures:
        own = [o for o in observations if o.finding == structure]
        threshold = fit_outline(own, card.calibration.get(structure, Calibration()).threshold)
        fitted[structure] = replace(fitted.get(structure, Calibration()), threshold=threshold, min_secondary_logit=None)
    return fitted
