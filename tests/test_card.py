"""The card: calibrations, their operating points, and what these rest on."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from tips_med.card import AnswerCounts, Calibration, Measured, ModelCard, OperatingPoint, card_from_dict
from tips_med.errors import ConfigError

REAL = Measured(there=AnswerCounts(present=3, unsure=1, absent=1), not_there=AnswerCounts(present=1, absent=9))
POINTS = {
    "sensitive": OperatingPoint(0.1, 0.3, real=REAL),
    "balanced": OperatingPoint(0.2, 0.6, real=REAL),
    "specific": OperatingPoint(0.3, 0.9, real=REAL),
}
CALIBRATION = Calibration(slope=2.0, absent_below=0.2, present_above=0.6, points=POINTS)  # type: ignore[arg-type]


def test_a_point_moves_the_thresholds_and_nothing_else() -> None:
    moved = CALIBRATION.at("specific")
    assert (moved.absent_below, moved.present_above, moved.operating_point) == (0.3, 0.9, "specific")
    assert moved.probability(0.7) == CALIBRATION.probability(0.7)
    assert moved.at("balanced") == CALIBRATION


def test_what_a_point_did_on_real_scans() -> None:
    measured = CALIBRATION.measured
    assert measured is not None
    assert (measured.sensitivity, measured.specificity) == (0.6, pytest.approx(0.9))
    assert Measured().sensitivity is None
    assert Measured().specificity is None


def test_evidence_is_told_apart() -> None:
    painted = Calibration(points={"balanced": OperatingPoint(0.2, 0.6, painted=REAL)})
    assert (CALIBRATION.evidence, painted.evidence, Calibration().evidence) == ("real", "painted", "unknown")


def test_a_card_comes_back_from_json_with_its_points() -> None:
    card = ModelCard("toy", ("mass",), calibration={"mass": CALIBRATION, "lung": Calibration()})
    assert card_from_dict(json.loads(json.dumps(asdict(card)))) == card


def test_all_calibrations_of_a_card_move_together() -> None:
    card = ModelCard("toy", ("mass",), calibration={"lung": Calibration(), "mass": CALIBRATION})
    moved = card.at("sensitive")
    assert (card.operating_point, moved.operating_point) == ("balanced", "sensitive")
    assert moved.calibration["mass"].present_above == 0.3
    assert moved.calibration["lung"] == Calibration()
    assert moved.at("balanced") == card


def test_weights_without_points_say_so() -> None:
    card = ModelCard("toy", ("mass",), calibration={"mass": Calibration()})
    assert card.at("balanced") is card
    with pytest.raises(ConfigError, match="no operating point 'sensitive'") as error:
        card.at("sensitive")
    assert error.value.code == "operating-point"
