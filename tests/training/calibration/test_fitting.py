from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.calibration.observed import drawn, observations, seen_with
from tips_med.card import Calibration, ModelCard
from tips_med.training.calibration import (
    THRESHOLDS,
    Component,
    Observation,
    dice_of,
    f1_of,
    fit_all,
    fit_calibration,
    fit_outline,
    fit_threshold,
    kept_components,
    summary,
)


def test_a_fitted_probability_is_as_often_right_as_it_says(rng):
    """Evidence drawn from two normal distributions one apart: the true slope is 1, the true intercept 0."""
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    fitted = fit_calibration(observations(evidence, there))
    assert fitted.slope == pytest.approx(1.0, abs=0.15)
    assert fitted.intercept == pytest.approx(0.0, abs=0.1)


def test_slope_and_intercept_are_those_of_the_evidence(rng):
    """Normal distributions two apart, around 3: the true slope is 2, and evidence of 3 says nothing."""
    there = np.arange(4000) % 2 == 0
    fitted = fit_calibration(observations(rng.normal(np.where(there, 4.0, 2.0), 1.0), there))
    assert fitted.slope == pytest.approx(2.0, abs=0.3)
    assert fitted.intercept == pytest.approx(-3 * fitted.slope, abs=0.2)


def test_how_often_a_finding_is_there_does_not_matter(rng):
    there = np.arange(4000) % 20 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    assert fit_calibration(observations(evidence, there)).intercept == pytest.approx(0.0, abs=0.25)


def test_a_slope_is_never_negative_and_one_class_alone_changes_nothing():
    assert fit_calibration(observations([3, 2, -2, -3], [0, 0, 1, 1])).slope > 0
    assert fit_calibration(observations([1, 2], [1, 1])) == Calibration()


def test_what_cannot_be_told_apart_is_unsure_and_not_absent(rng):
    there = np.arange(4000) % 2 == 0
    fitted = fit_calibration(observations(rng.normal(np.where(there, 0.2, -0.2), 1.0), there))
    assert fitted.absent_below < fitted.probability(0.0) < fitted.present_above


def test_separable_evidence_stays_finite():
    fitted = fit_calibration(observations([-5, -4, 4, 5], [0, 0, 1, 1]))
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted.slope < 100


def test_maps_are_cut_where_dice_and_pieces_are_best():
    """A high threshold is best for the mask, and false pieces have an evidence of 2, true ones of 3."""
    pieces = (
        Component(0.5, 6.0, 4.0, 2.0), Component(0.5, 3.0, 1.0, 0.5), Component(0.5, 2.0, 1.0, 0.0),
        Component(0.8, 6.0, 2.0, 2.0), Component(0.8, 3.0, 0.5, 0.5), Component(0.8, 2.0, 0.5, 0.0),
    )  # fmt: skip
    seen = [Observation(n, "mass", None, True, 6.0, 2.5, 6.0, 0.5, True, 2, pieces) for n in range(6)]
    assert fit_threshold(seen) == (0.8, 2.5)
    assert fit_threshold(seen[:5]) == (Calibration.threshold, None)  # too few to go by
    row = summary(seen, lambda _: Calibration(threshold=0.8, min_secondary_logit=2.5))[0]
    assert row["answered_dice"] == row["answered_f1"] == 1.0
    missed = summary(seen, lambda _: Calibration(intercept=-20.0))[0]
    assert missed["answered_dice"] == missed["answered_f1"] == 0.0


def test_the_surest_piece_is_kept_and_others_from_an_evidence_on():
    seen = seen_with((0.5, 3.0, 1.0, 1.0), (0.5, 2.0, 1.0, 0.5), (0.5, 1.0, 1.0, 0.0), (0.8, 3.0, 0.5, 0.5))
    assert [one.evidence for one in kept_components(seen, 0.5, None)] == [3.0, 2.0, 1.0]
    assert [one.evidence for one in kept_components(seen, 0.5, 2.0)] == [3.0, 2.0]
    assert [one.evidence for one in kept_components(seen, 0.5, 9.0)] == [3.0]
    assert [one.ml for one in kept_components(seen, 0.8, None)] == [0.5]
    assert kept_components(seen, 0.65, None) == []


def test_dice_and_f1_of_pieces():
    seen = seen_with((0.5, 3.0, 1.0, 1.0), (0.5, 2.0, 1.0, 0.5), (0.5, 1.0, 1.0, 0.4))
    every = list(seen.components)
    assert dice_of(seen, every) == pytest.approx(2 * 1.9 / (3 + 2))
    assert dice_of(seen, []) == 0.0
    assert f1_of(seen, every) == pytest.approx(2 * 2 / (3 + 2)), "a piece is right when half of it is"
    assert f1_of(replace(seen, truth_components=1), every) == pytest.approx(2 / 4), "one is not found twice"
    nothing = replace(seen, truth_ml=0.0, truth_components=0)
    assert dice_of(nothing, []) == f1_of(nothing, []) == 1.0


def test_how_many_pieces_are_right_chooses_the_pieces_and_not_the_threshold():
    """At 0.3 the mask is right and has a false piece that is as sure; at 0.8 half of the mask is left, without it."""
    seen = seen_with((0.3, 4.0, 2.0, 2.0), (0.3, 4.0, 0.2, 0.0), (0.8, 4.0, 1.0, 1.0), truth_components=1)
    assert fit_threshold([seen] * 6)[0] == 0.3


def test_as_many_pieces_are_kept_as_cost_hardly_anything():
    """Nothing tells 1 from 5 apart but a false piece of a hundredth of the volume in one scan of forty."""
    one = seen_with((0.3, 6.0, 2.0, 2.0), truth_components=1)
    false = seen_with((0.3, 6.0, 2.0, 2.0), (0.3, 4.0, 0.02, 0.0), truth_components=1)
    assert fit_threshold([one] * 39 + [false]) == (0.3, None)
    assert fit_threshold([one] * 3 + [false] * 5) == (0.3, 4.5), "what costs more is dropped"


def test_maps_are_cut_by_what_is_outlined_and_there():
    good = seen_with((0.5, 6.0, 4.0, 2.0), (0.8, 6.0, 2.0, 2.0), truth_components=1)
    assert fit_threshold([good] * 6) == (0.8, None), "of equal choices the first, which keeps all"
    for left_out in (replace(good, there=False), replace(good, outlined=False), replace(good, components=())):
        assert fit_threshold([good] * 5 + [left_out])[0] == (
            0.8 if left_out.components == () else Calibration.threshold
        )
    assert fit_threshold([replace(good, components=())] * 6) == (Calibration.threshold, Calibration.min_secondary_logit)


def test_a_real_outline_weighs_as_much_as_ten_painted_ones():
    """Ten painted scans are best cut at 0.8, and the real one at 0.3."""
    painted = seen_with((0.3, 6.0, 2.3, 2.0), (0.8, 6.0, 2.0, 2.0), truth_components=1)
    real = seen_with((0.3, 6.0, 2.0, 2.0), (0.8, 6.0, 0.5, 0.5), truth_components=1, patient="p1")
    assert fit_threshold([painted] * 10)[0] == 0.8
    assert fit_threshold([*[painted] * 10, real])[0] == 0.3
    assert fit_threshold([*[painted] * 10, replace(real, patient="")])[0] == 0.8


def test_thresholds_leave_one_in_twenty_and_one_in_four_on_the_wrong_side(rng):
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.4, -0.4), 1.0)
    fitted = fit_calibration(observations(evidence, there))
    probability = np.array([fitted.probability(e) for e in evidence])
    assert (probability[there] < fitted.absent_below).mean() == pytest.approx(0.05, abs=0.01)
    assert (probability[~there] >= fitted.present_above).mean() == pytest.approx(0.25, abs=0.01)


def test_what_is_told_apart_well_is_still_unsure_where_it_is_hardly_less_likely_than_not():
    fitted = fit_calibration(observations(np.tile([-4.0, 4.0], 50), np.tile([0, 1], 50)))
    assert (fitted.absent_below, fitted.present_above) == (0.4, 0.5)
    assert all(point.absent_below <= 0.4 for point in fitted.points.values())


def test_a_real_scan_weighs_as_much_as_ten_painted_ones():
    painted = observations([-3.0, -1.0, 1.0, 3.0] * 10, [0, 0, 1, 1] * 10)
    real = [replace(one, patient="p") for one in observations([2.0, 4.0, 6.0, 8.0], [0, 0, 1, 1])]
    tenfold = fit_calibration(painted + 10 * observations([2.0, 4.0, 6.0, 8.0], [0, 0, 1, 1]))
    assert fit_calibration(painted + real).intercept == pytest.approx(tenfold.intercept, abs=0.1)
    assert fit_calibration(painted + real).intercept < fit_calibration(painted).intercept - 0.5


def test_a_calibration_needs_both_kinds_and_a_structure_none():
    card = ModelCard("toy", ("mass", "nodule"), structures=("lung", "liver"))
    fitted = fit_all(card, observations([3, -3], [1, 0]) + observations([3], [1], "nodule"))
    assert set(fitted) == {"mass", "lung", "liver"}
    assert fitted["lung"] == Calibration()


def test_a_more_sensitive_point_misses_less_and_a_more_specific_one_claims_less(rng):
    points = fit_calibration(drawn(rng)).points
    low, plain, high = (points[name] for name in ("sensitive", "balanced", "specific"))
    assert low.present_above < plain.present_above < high.present_above
    assert low.absent_below < plain.absent_below < high.absent_below
    assert all(one.absent_below <= one.present_above for one in points.values())


def test_a_structure_is_cut_where_its_whole_map_is_best():
    """Its pieces are not judged one by one, and a finding is not cut by its whole map."""
    dices = tuple(0.9 if threshold == 0.3 else 0.6 for threshold in THRESHOLDS)
    seen = [seen_with((0.8, 6.0, 2.0, 2.0), finding="liver", dices=dices) for _ in range(6)]
    assert fit_outline(seen) == 0.3
    assert fit_outline(seen[:5]) == Calibration.threshold, "too few to go by"
    assert fit_outline([*seen[:5], replace(seen[5], outlined=False)]) == Calibration.threshold
    absent = [replace(one, there=False, evidence=-3.0, components=(), dices=()) for one in seen]
    fitted = fit_all(ModelCard("toy", (), structures=("liver",)), [*seen, *absent])["liver"]
    assert (fitted.threshold, fitted.min_secondary_logit) == (0.3, None)
    assert fitted.evidence == "painted"
    had = ModelCard("toy", (), structures=("liver",), calibration={"liver": Calibration(threshold=0.4)})
    assert fit_all(had, [*seen[:3], *absent])["liver"].threshold == 0.4, "what was fitted before stays"
    always = fit_all(ModelCard("toy", (), structures=("liver",)), seen)["liver"]
    assert always == Calibration(threshold=0.3), "nothing says what a scan without it looks like"
