# Copied from tips_med/card.py by copies.py: change it there.
"""The model card: findings, places and calibration of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from tips_med_runtime.errors import ConfigError

OperatingPointName = Literal["sensitive", "balanced", "specific"]
"""Fewer misses, the plain one, fewer false alarms."""

BALANCED: OperatingPointName = "balanced"


@dataclass(frozen=True)
class AnswerCounts:
    """How many answers of a kind were given.

    Attributes:
        present: Number of answers ``present``.
        unsure: Number of answers ``unsure``.
        absent: Number of answers ``absent``.
    """

    present: int = 0
    unsure: int = 0
    absent: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.present + self.unsure + self.absent


@dataclass(frozen=True)
class Measured:
    """How the answers did where the truth was known.

    Attributes:
        there: Answers where the finding was there.
        not_there: Answers where it was not.
    """

    there: AnswerCounts = AnswerCounts()
    not_there: AnswerCounts = AnswerCounts()

    @property
    def sensitivity(self) -> float | None:
        """Share of what was there that was called present, 0 to 1; None where nothing was."""
        return self.there.present / self.there.total if self.there.total else None

    @property
    def specificity(self) -> float | None:
        """Share of what was not there that was not called present, 0 to 1; None without any."""
        return 1 - self.not_there.present / self.not_there.total if self.not_there.total else None


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds on the probability, and how they did on scans that they were not fitted on.

    Attributes:
        absent_below: Calibrated probability below which the answer is absent, 0 to 1.
        present_above: Calibrated probability above which the answer is present, 0 to 1.
        real: Answers on real scans, each patient judged by what the others fit.
        painted: Answers on painted scans, each third judged by what the others fit.
    """

    absent_below: float
    present_above: float
    real: Measured = Measured()
    painted: Measured = Measured()


@dataclass(frozen=True)
class Calibration:
    """From a map to a probability of presence, and to a mask.

    The evidence of a map is the logit of its probability, averaged over a small ball; the highest value counts.
    Presence is ``sigmoid(slope * evidence + intercept)`` (Platt 1999), fitted per finding on scenes that were not
    trained on.

    Attributes:
        slope: Factor of the evidence (per logit).
        intercept: Offset in logits, added after ``slope``.
        absent_below: Calibrated probability below which the answer is absent, 0 to 1.
        present_above: Calibrated probability above which the answer is present, 0 to 1.
        threshold: Threshold on the probability of the map, for the mask, 0 to 1.
        min_secondary_logit: Minimum evidence (logit) of a component beside a stronger one; None for no
            minimum.
        points: Operating points by name, where the thresholds were fitted on observations; empty otherwise.
        operating_point: Operating point that the thresholds are those of.
    """

    slope: float = 1.0
    intercept: float = 0.0
    absent_below: float = 0.35
    present_above: float = 0.65
    threshold: float = 0.5
    min_secondary_logit: float | None = None
    points: dict[OperatingPointName, OperatingPoint] = field(default_factory=dict)
    operating_point: OperatingPointName = BALANCED

    @property
    def evidence(self) -> Literal["real", "painted", "unknown"]:
        """What its thresholds rest on: real scans that have the finding, painted ones alone, or nobody says."""
        if BALANCED not in self.points:
            return "unknown"
        return "real" if self.points[BALANCED].real.there.total else "painted"

    @property
    def measured(self) -> Measured | None:
        """How these thresholds did on real scans; None where nobody measured it."""
        point = self.points.get(self.operating_point)
        return point.real if point is not None else None

    def at(self, name: OperatingPointName) -> Calibration:
        """The same with the thresholds of an operating point; itself where it has none."""
        point = self.points.get(name)
        if point is None:
            return self
        return replace(self, absent_below=point.absent_below, present_above=point.present_above, operating_point=name)

    def probability(self, evidence: float) -> float:
        """The calibrated probability of a finding, from the evidence for it."""
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, self.slope * evidence + self.intercept))))


@dataclass(frozen=True)
class ModelCard:
    """Description of a model; stored in the metadata of the weights.

    Attributes:
        name: Short name, for reports.
        findings: Finding terms of the lexicon that the model was trained on.
        structures: Structure terms of the lexicon that the model was trained on.
        lexicon: Name of the lexicon.
        licence: Licence of the weights.
        data: Training data, one sentence for each source.
        calibration: Calibration by finding or structure term.
        places: Structures in which each finding was trained. A finding without an entry: its structure in the lexicon,
            else the lung.
        trained: Steps, seed and hash of the training data.
    """

    name: str
    findings: tuple[str, ...]
    structures: tuple[str, ...] = ("lung",)
    lexicon: str = "chest_ct"
    licence: str = "Apache-2.0"
    data: tuple[str, ...] = ()
    calibration: dict[str, Calibration] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)

    @property
    def operating_point(self) -> OperatingPointName:
        """Operating point that its calibrations are set to."""
        for one in self.calibration.values():
            if one.points:
                return one.operating_point
        return BALANCED

    def at(self, name: OperatingPointName) -> ModelCard:
        """The same card with all calibrations at an operating point.

        Raises:
            ConfigError: No calibration of these weights has that point.
        """
        if name == self.operating_point:
            return self
        if not any(name in one.points for one in self.calibration.values()):
            raise ConfigError(
                f"the model {self.name!r} has no operating point {name!r}",
                expected="weights whose calibration measured it",
                remedy="calibrate them with tips-med calibrate, or leave out --operating-point",
                code="operating-point",
            )
        moved = {term: one.at(name) for term, one in self.calibration.items()}
        return replace(self, calibration=moved)

    def calibration_of(self, term: str) -> Calibration | None:
        """The calibration of a term; None where it has none: then its scores are no probabilities."""
        return self.calibration.get(term)

    def after_training(self) -> ModelCard:
        """The card once training has moved the weights: calibrations of findings do not carry over."""
        kept = {term: fitted for term, fitted in self.calibration.items() if term in self.structures}
        return replace(self, calibration=kept)


def card_from_dict(raw: dict[str, Any]) -> ModelCard:
    """A card from JSON."""
    raw = dict(raw)
    raw["calibration"] = {term: _calibration(values) for term, values in raw.get("calibration", {}).items()}
    raw["places"] = {term: tuple(places) for term, places in raw.get("places", {}).items()}
    for key in ("findings", "structures", "data"):
        raw[key] = tuple(raw.get(key, ()))
    return ModelCard(**raw)


def _calibration(values: dict[str, Any]) -> Calibration:
    values = dict(values)
    if "pieces_from" in values:  # its name in weights written before 0.2
        values["min_secondary_logit"] = values.pop("pieces_from")
    points = {
        name: OperatingPoint(
            **{**one, **{scans: Measured(**{k: AnswerCounts(**n) for k, n in one[scans].items()})
                         for scans in ("real", "painted") if scans in one}}
        )
        for name, one in values.pop("points", {}).items()
    }  # fmt: skip
    return Calibration(**values, points=cast(dict[OperatingPointName, OperatingPoint], points))
