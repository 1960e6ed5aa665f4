from __future__ import annotations

import math

import pytest

from tips_med.card import AnswerCounts, Calibration, Measured, OperatingPoint
from tips_med.grounding import Coverage, Decision
from tips_med.grounding.decision import combine_sides, decide_presence, mark_unsure

CALIBRATION = Calibration()
YES, MIDDLE, NO = 3.0, 0.0, -3.0


@pytest.mark.parametrize(("logit", "state"), [(NO, "absent"), (MIDDLE, "unsure"), (YES, "present")])
def test_between_the_thresholds_the_answer_is_unsure_and_says_why(logit, state):
    decision = decide_presence(logit, CALIBRATION, Coverage())
    assert decision.state == state
    assert decision.reasons == (("between-thresholds",) if state == "unsure" else ())


def test_calibration_shifts_the_answer_and_never_its_order():
    shifted = Calibration(slope=0.5, intercept=-2.0)
    chances = [decide_presence(logit, shifted, Coverage()).probability for logit in (-4.0, 0.0, 4.0)]
    assert chances == sorted(chances)
    assert chances[1] == pytest.approx(1 / (1 + math.exp(2.0)))


@pytest.mark.parametrize(("logit", "holds"), [(YES, False), (MIDDLE, None), (NO, True)])
def test_a_negation_mirrors_the_statement(logit, holds):
    plain, negated = (
        decide_presence(logit, CALIBRATION, Coverage()),
        decide_presence(logit, CALIBRATION, Coverage(), negated=True),
    )
    assert plain.state == negated.state
    assert plain.probability == negated.probability
    assert (plain.holds, negated.holds) == (None, holds)


def test_nothing_is_absent_where_the_region_was_not_assessed_whole():
    part = Coverage(0.6, whole=False, reasons=("outside-field-of-view",))
    decision = decide_presence(NO, CALIBRATION, part, negated=True)
    assert (decision.state, decision.holds) == ("unsure", None)
    assert decision.reasons == ("outside-field-of-view",)
    assert decision.assessed_fraction == 0.6
    assert decide_presence(YES, CALIBRATION, part).state == "present", "what is seen is there, whatever was not seen"


@pytest.mark.parametrize(
    ("coverage", "reason"),
    [
        (Coverage(side_known=False, reasons=("side-unknown",)), "side-unknown"),
        (Coverage(height_known=False, reasons=("height-unknown",)), "height-unknown"),
    ],
)
def test_no_place_is_named_that_is_not_known(coverage, reason):
    decision = decide_presence(YES, CALIBRATION, coverage)
    assert decision.state == "unsure"
    assert decision.reasons == (reason,)
    assert decide_presence(NO, CALIBRATION, coverage).state == "absent", "nothing anywhere is nothing there"


def test_a_region_wider_than_what_was_taught_is_never_called_free():
    assert decide_presence(NO, CALIBRATION, Coverage(reasons=("wider-than-trained",))).state == "unsure"
    assert decide_presence(YES, CALIBRATION, Coverage(reasons=("wider-than-trained",))).state == "present"


@pytest.mark.parametrize("logit", [YES, MIDDLE, NO])
def test_a_score_without_a_calibration_is_called_a_score(logit):
    decision = decide_presence(logit, None, Coverage(), negated=True)
    assert decision.state == "unsure"
    assert decision.probability is None
    assert decision.holds is None
    assert decision.score == pytest.approx(1 / (1 + math.exp(-logit)))
    assert "uncalibrated" in decision.reasons


def side(logit: float) -> Decision:
    return decide_presence(logit, CALIBRATION, Coverage())


@pytest.mark.parametrize(
    ("right", "left", "state"),
    [
        (YES, YES, "present"),
        (YES, NO, "absent"),
        (NO, NO, "absent"),
        (YES, MIDDLE, "unsure"),
        (MIDDLE, NO, "absent"),
    ],
)
def test_both_sides_means_each_of_them(right, left, state):
    decision = combine_sides({"right": side(right), "left": side(left)}, negated=False)
    assert decision.state == state
    assert ("one-side-only" in decision.reasons) is (YES in (right, left) and right != left)
    assert decision.sides["right"].state == side(right).state


@pytest.mark.parametrize(
    ("right", "left", "holds"), [(YES, YES, False), (YES, NO, False), (NO, NO, True), (MIDDLE, NO, None)]
)
def test_neither_side_holds_only_where_both_are_free(right, left, holds):
    assert combine_sides({"right": side(right), "left": side(left)}, negated=True).holds is holds


def test_what_lies_just_at_a_threshold_is_present_or_unsure_and_never_absent():
    at_half = Calibration(absent_below=0.5, present_above=0.5)
    assert decide_presence(0.0, at_half, Coverage()).state == "present"
    assert decide_presence(0.0, Calibration(absent_below=0.5, present_above=0.6), Coverage()).state == "unsure"


def test_notes_come_last_and_once_and_change_nothing():
    decision = decide_presence(MIDDLE, CALIBRATION, Coverage(reasons=("gap",)), notes=("hedge-ignored", "gap"))
    assert decision.reasons == ("between-thresholds", "gap", "hedge-ignored")
    assert decide_presence(YES, CALIBRATION, Coverage(reasons=("gap",)), notes=("hedge-ignored",)).reasons == (
        "hedge-ignored",
    )
    plain = decide_presence(YES, None, Coverage(0.7, reasons=("gap",)), notes=("hedge-ignored",))
    assert plain.reasons == ("uncalibrated", "gap", "hedge-ignored")
    assert plain.assessed_fraction == 0.7


def test_both_sides_carry_the_numbers_of_the_side_that_decides():
    right, left = decide_presence(YES, CALIBRATION, Coverage(0.95)), decide_presence(NO, CALIBRATION, Coverage(0.92))
    decision = combine_sides({"right": right, "left": left}, negated=False, notes=("hedge-ignored",))
    assert (decision.probability, decision.score) == (left.probability, left.score), "both are only as sure as one"
    assert decision.assessed_fraction == 0.92
    assert decision.reasons == ("one-side-only", "hedge-ignored")
    assert decision.holds is None
    either = combine_sides({"right": right, "left": left}, negated=True)
    assert (either.state, either.probability) == ("present", right.probability)


def test_both_sides_say_why_each_is_unsure():
    parts = {
        "right": decide_presence(MIDDLE, CALIBRATION, Coverage(reasons=("gap",))),
        "left": decide_presence(NO, CALIBRATION, Coverage(whole=False, reasons=("not-aerated",))),
    }
    assert combine_sides(parts, negated=True).reasons == ("between-thresholds", "gap", "not-aerated")


def test_an_answer_that_becomes_unsure_says_so_first_and_decides_no_statement():
    decision = mark_unsure(decide_presence(NO, CALIBRATION, Coverage(), negated=True, notes=("gap",)), "size-mismatch")
    assert (decision.state, decision.holds) == ("unsure", None)
    assert decision.reasons == ("size-mismatch", "gap")
    assert mark_unsure(decision, "size-mismatch").reasons == decision.reasons


def test_what_is_there_on_a_side_that_is_not_known_says_only_that():
    coverage = Coverage(side_known=False, reasons=("gap", "side-unknown"))
    assert decide_presence(YES, CALIBRATION, coverage).reasons == ("side-unknown",)


SEEN = Measured(AnswerCounts(present=4, absent=1), AnswerCounts(absent=5))
POINTS = {
    "sensitive": OperatingPoint(0.1, 0.3, real=SEEN),
    "balanced": OperatingPoint(0.3, 0.6, real=SEEN),
    "specific": OperatingPoint(0.4, 0.9, real=SEEN),
}


@pytest.mark.parametrize(("point", "state"), [("sensitive", "present"), ("balanced", "unsure"), ("specific", "unsure")])
def test_an_operating_point_decides_otherwise_on_the_same_probability(point, state):
    calibration = Calibration(absent_below=0.3, present_above=0.6, points=POINTS)
    decision = decide_presence(0.0, calibration.at(point), Coverage())
    assert (decision.state, decision.probability) == (state, 0.5)
    assert (decision.evidence, decision.measured) == ("real", SEEN)
    assert "painted-only" not in decision.reasons


@pytest.mark.parametrize("logit", [NO, MIDDLE, YES])
def test_an_answer_that_rests_on_painted_scans_alone_says_so_and_stays_what_it_is(logit):
    painted = Calibration(points={"balanced": OperatingPoint(0.35, 0.65, painted=SEEN)})
    decision, plain = (decide_presence(logit, one, Coverage()) for one in (painted, Calibration()))
    assert decision.state == plain.state
    assert decision.reasons == (*plain.reasons, "painted-only")
    assert decision.evidence == "painted"


@pytest.mark.parametrize("logits", [(NO, NO), (YES, YES), (YES, NO), (MIDDLE, NO)])
def test_both_sides_say_that_they_rest_on_painted_scans_alone(logits):
    painted = Calibration(points={"balanced": OperatingPoint(0.35, 0.65, painted=SEEN)})
    sides = {side: decide_presence(one, painted, Coverage()) for side, one in zip(("right", "left"), logits)}
    assert combine_sides(sides, negated=False).reasons.count("painted-only") == 1
