"""The model card: findings, places and calibration of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any


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
    """

    slope: float = 1.0
    intercept: float = 0.0
    absent_below: float = 0.35
    present_above: float = 0.65
    threshold: float = 0.5
    min_secondary_logit: float | None = None

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
    return Calibration(**values)
