"""How calibrated answers do on scans that the calibration was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tips_med.card import BALANCED, AnswerCounts, Calibration, Measured, ModelCard, OperatingPoint
from tips_med.training.calibration.fitting import POINTS, dice_of, f1_of, fit_all, kept_components, operating_points
from tips_med.training.calibration.observing import Component, Observation

FOLDS = 3
"""Into how many parts painted scans are divided, each of which is judged by what all else fits."""


def summary(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> list[dict[str, object]]:
    """Per finding: how many, AUROC, sensitivity, specificity, what was called what, false volume, Dice and hits.

    ``dice`` is of the whole map at a half, ``answered_dice`` and ``answered_f1`` are of what an answer keeps of it.

    Args:
        observations: Observations of all findings.
        calibration_of: Function that returns the calibration to judge an observation with.
    """
    from torchmetrics.functional.classification import binary_auroc

    rows = []
    for finding in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == finding]
        there = [o for o in own if o.there]
        absent = [o for o in own if not o.there]
        # An absent answer marks nothing, whatever its map.
        marked = [0.0 if is_absent(o, calibration_of(o)) else o.mask_ml for o in absent]
        outlined = [o for o in there if o.outlined]
        answers = [answered_components(o, calibration_of(o)) for o in outlined]
        probability = torch.tensor([o.evidence for o in own], dtype=torch.float64).sigmoid()
        rows.append(
            {
                "finding": finding,
                "present": len(there),
                "absent": len(absent),
                "auroc": float(binary_auroc(probability, torch.tensor([int(o.there) for o in own])))
                if there and absent
                else None,
                "sensitivity": _share(not is_absent(o, calibration_of(o)) for o in there),
                "specificity": _share(is_absent(o, calibration_of(o)) for o in absent),
                "there_called": _called(there, calibration_of),
                "not_there_called": _called(absent, calibration_of),
                "outlined": len(outlined),
                "dice": _mean(o.dice for o in outlined),
                "hit": _share(o.hit for o in outlined),
                "false_ml_median": float(np.median(marked)) if absent else None,
                "false_ml_mean": _mean(marked),
                "answered_dice": _mean(dice_of(o, answer) for o, answer in zip(outlined, answers)),
                "answered_f1": _mean(f1_of(o, answer) for o, answer in zip(outlined, answers)),
            }
        )
    return rows


def _called(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> dict[str, int]:
    """How many answers are present, unsure and absent."""
    return vars(count_answers(observations, calibration_of))


def count_answers(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> AnswerCounts:
    """How many answers are present, unsure and absent."""
    count = {"present": 0, "unsure": 0, "absent": 0}
    for observation in observations:
        calibration = calibration_of(observation)
        probability = calibration.probability(observation.evidence)
        state = "present" if probability >= calibration.present_above else "unsure"
        count["absent" if probability < calibration.absent_below else state] += 1
    return AnswerCounts(**count)


BINS = 5
"""Number of equal parts that probabilities are put into for the reliability curve."""


def reliability(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> list[dict[str, float | int | None]]:
    """How often a finding is there among the answers of about one probability (reliability curve, DeGroot 1983).

    Args:
        observations: Observations of all findings.
        calibration_of: Function that returns the calibration to judge an observation with.

    Returns:
        For each bin its limits, the number of answers, their mean probability, and the share of them that is there;
        the last two are None where there is no answer.
    """
    said = np.array([calibration_of(o).probability(o.evidence) for o in observations])
    there = np.array([o.there for o in observations], float)
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    rows: list[dict[str, float | int | None]] = []
    for n in range(BINS):
        own = place == n
        rows.append(
            {
                "from": n / BINS,
                "to": (n + 1) / BINS,
                "count": int(own.sum()),
                "mean_probability": float(said[own].mean()) if own.any() else None,
                "observed": float(there[own].mean()) if own.any() else None,
            }
        )
    return rows


def with_measurements(
    calibration: Calibration, observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> Calibration:
    """A calibration whose operating points say how they do, on real scans and on painted ones.

    Args:
        calibration: Calibration of a term.
        observations: All observations of it.
        calibration_of: Function that returns a calibration that was fitted without an observation's scan.
    """
    points = dict(calibration.points)
    for name in points:
        for scans in ("real", "painted"):
            own = [o for o in observations if bool(o.patient) == (scans == "real")]
            counts = [
                count_answers([o for o in own if o.there == there], lambda o, name=name: calibration_of(o).at(name))
                for there in (True, False)
            ]
            points[name] = replace(points[name], **{scans: Measured(*counts)})
    return replace(calibration, points=points)


def is_absent(observation: Observation, calibration: Calibration) -> bool:
    """Whether the answer is "absent"."""
    return calibration.probability(observation.evidence) < calibration.absent_below


def answered_components(observation: Observation, calibration: Calibration) -> list[Component]:
    """The components of the answer: none where it is "absent"."""
    if is_absent(observation, calibration):
        return []
    return kept_components(observation, calibration.threshold, calibration.min_secondary_logit)


def _by_patient(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    return {
        patient: {
            name: {
                truth: vars(
                    count_answers(
                        [o for o in observations if o.patient == patient and o.there == (truth == "there")],
                        lambda o, name=name: calibration_of(o).at(name),
                    )
                )
                for truth in ("there", "not_there")
            }
            for name in POINTS
        }
        for patient in sorted({o.patient for o in observations if o.patient})
    }


def _term(key: str) -> str:
    """The finding of a calibration's key, which may name a place: ``lesion@liver``."""
    return key.partition("@")[0]


def _kept(calibration: Calibration, observations: Sequence[Observation]) -> Calibration:
    """A calibration whose answers stay what they are, with the operating points that observations give beside it."""
    if not observations:
        return calibration
    own = OperatingPoint(calibration.absent_below, calibration.present_above)
    found = operating_points(calibration, observations)
    low, high = found["sensitive"], found["specific"]
    return replace(
        calibration,
        points={
            "sensitive": OperatingPoint(
                min(low.absent_below, own.absent_below), min(low.present_above, own.present_above)
            ),
            BALANCED: own,
            "specific": OperatingPoint(
                max(high.absent_below, own.absent_below), max(high.present_above, own.present_above)
            ),
        },
    )


@dataclass(frozen=True)
class CalibrationReport:
    """The findings that a model is to answer, with their calibration.

    Attributes:
        calibration: Calibration by term, for answered findings.
        findings: Answered findings.
        rows: Results on painted scans, finding by finding, refused ones among them: each scan judged by what was
            fitted without it.
        real_rows: Results on real scans, each patient judged by what was fitted without that patient.
        reliability: Reliability curve over all findings, of ``painted`` and of ``real`` scans, judged in the same way.
        by_patient: Answers about each real patient at each operating point, of all findings, by truth and state.
    """

    calibration: dict[str, Calibration]
    findings: tuple[str, ...]
    rows: list[dict[str, object]]
    real_rows: list[dict[str, object]]
    reliability: dict[str, list[dict[str, float | int | None]]]
    by_patient: dict[str, dict[str, dict[str, dict[str, int]]]]


def calibrate_model(
    card: ModelCard,
    observations: Sequence[Observation],
    scans: int,
    findings: Sequence[str] | None = None,
    min_auroc: float = 0.0,
    keep: bool = False,
) -> CalibrationReport:
    """Fits on all scans, and reports how each third of the painted ones and each real patient does without itself.

    Args:
        card: Card of the model that was observed.
        observations: Observations on ``scans`` painted scans, and on any number of real ones.
        scans: Number of painted scans.
        findings: Findings that it may answer; all that it was trained on when None.
        min_auroc: Minimum AUROC of a finding, 0 to 1; others are refused.
        keep: Keep the calibrations that the card has, and only add and measure operating points beside them.
    """

    def part(observation: Observation) -> str | int:
        return observation.patient or observation.scene * FOLDS // scans

    without = {
        left_out: fit_all(card, [o for o in observations if part(o) != left_out])
        for left_out in dict.fromkeys(part(o) for o in observations)
    }

    def judged_by(observation: Observation) -> Calibration:
        return without[part(observation)].get(observation.finding, Calibration())

    rows = summary([o for o in observations if not o.patient], judged_by)
    real_rows = summary([o for o in observations if o.patient], judged_by)

    def answered(row: dict[str, object]) -> bool:
        auroc = row["auroc"]
        good = min_auroc <= 0 or (isinstance(auroc, float) and auroc >= min_auroc)
        return good and (findings is None or _term(str(row["finding"])) in findings)

    # A finding without a query is neither calibrated nor refused.
    asked = {_term(o.finding) for o in observations}
    unseen = {finding for finding in card.findings if finding not in asked}
    kept = {_term(str(row["finding"])) for row in (rows or real_rows) if answered(row)}
    kept |= unseen if findings is None else set()
    answers = tuple(finding for finding in card.findings if finding in kept)
    refused = set(card.findings) - set(answers)
    # The weights are the same: what nobody observed this time keeps the calibration that it has.
    fitted = {term: one for term, one in card.calibration.items() if _term(term) not in asked | refused}
    for term, value in fit_all(card, observations).items():
        if _term(term) not in refused and term not in fitted:
            own = [o for o in observations if o.finding == term]
            kept_value = _kept(card.calibration[term], own) if keep and term in card.calibration else value
            fitted[term] = with_measurements(kept_value, own, judged_by)
    reported = [[{**row, "answered": _term(str(row["finding"])) in kept} for row in each] for each in (rows, real_rows)]
    curves = {
        scans: reliability([o for o in observations if bool(o.patient) == (scans == "real")], judged_by)
        for scans in ("painted", "real")
    }
    return CalibrationReport(fitted, answers, reported[0], reported[1], curves, _by_patient(observations, judged_by))


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None


def _share(truths: Iterable[bool]) -> float | None:
    return _mean(map(float, truths))
