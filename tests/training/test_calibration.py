from __future__ import annotations

import numpy as np
import pytest

from tips_med.card import Calibration, ModelCard
from tips_med.training.calibration import (
    Component,
    Observation,
    as_rows,
    calibrate_model,
    fit_calibration,
    fit_threshold,
    measure,
    summary,
)


def observations(evidence, there, finding="mass"):
    return [
        Observation(n, finding, None, bool(t), float(e), 1.0 * bool(t), 0.5, 0.6 if t else 0.0, bool(t))
        for n, (e, t) in enumerate(zip(evidence, there))
    ]


def plain(_: Observation) -> Calibration:
    return Calibration()


def test_a_fitted_probability_is_as_often_right_as_it_says(rng):
    """Evidence drawn from two normal distributions one apart: the true slope is 1, the true intercept 0."""
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    fitted = fit_calibration(observations(evidence, there))
    assert fitted.slope == pytest.approx(1.0, abs=0.15)
    assert fitted.intercept == pytest.approx(0.0, abs=0.1)


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


def test_a_summary_counts_by_finding():
    seen = [*observations([-3, 3, 2], [0, 1, 1]), *observations([1, -1], [0, 1], "nodule")]
    rows = summary(seen, plain)
    assert [row["finding"] for row in rows] == ["mass", "nodule"]
    assert (rows[0]["present"], rows[0]["absent"], rows[0]["auroc"]) == (2, 1, 1.0)
    assert rows[0]["sensitivity"] == rows[0]["specificity"] == 1.0
    assert rows[1]["auroc"] == 0.0
    assert summary(observations([1], [1]), plain)[0]["auroc"] is None
    assert len(as_rows(seen)) == 5


def test_what_is_told_apart_badly_is_refused_and_still_reported():
    """Masses are told apart, nodules not; effusions are, but were not to be answered."""
    card = ModelCard("toy", ("mass", "nodule", "pleural_effusion"))
    there = np.arange(30) % 2 == 0
    seen = [
        *observations(np.where(there, 3, -3), there),
        *observations(np.where(there, 0, 1), there, "nodule"),
        *observations(np.where(there, 3, -3), there, "pleural_effusion"),
    ]
    decided = calibrate_model(card, seen, 30, ("mass", "nodule"), min_auroc=0.8)
    assert decided.findings == ("mass",)
    assert set(decided.calibration) == {"mass", "lung"}
    answered = {row["finding"]: row["answered"] for row in decided.rows}
    assert answered == {"mass": True, "nodule": False, "pleural_effusion": False}
    mass = decided.rows[0]
    assert (mass["present"], mass["absent"]) == (15, 15)
    assert mass["sensitivity"] == mass["specificity"] == 1.0


def test_every_scan_is_judged_by_what_the_others_fit():
    """In the last third the evidence is 10 higher than elsewhere: what the others fit calls nothing absent there."""
    there = np.arange(30) % 2 == 0
    seen = observations(np.where(there, 3.0, -3.0) + 10 * (np.arange(30) >= 20), there)
    row = calibrate_model(ModelCard("toy", ("mass",)), seen, 30).rows[0]
    assert row["specificity"] == pytest.approx(2 / 3)
    assert calibrate_model(ModelCard("toy", ("mass",)), seen[:20], 20).rows[0]["specificity"] == 1.0


def test_a_map_is_measured_piece_by_piece_at_every_threshold():
    """A right piece, half of whose rim is doubtful, and a false one that is less sure."""
    heat, truth = np.full((8, 20, 30), 0.01, np.float32), np.zeros((8, 20, 30), bool)
    heat[2:6, 4:12, 4:12], heat[2:6, 4:12, 12:16], heat[2:6, 4:12, 22:26] = 0.95, 0.6, 0.7
    truth[2:6, 4:12, 4:12] = True
    seen = measure(0, "mass", None, heat, truth, np.zeros_like(truth), 0.01)
    assert (seen.hit, seen.truth_components) == (True, 1)
    assert [(p.threshold, round(p.ml, 2), round(p.in_truth_ml, 2)) for p in seen.components] == [
        (0.5, 3.84, 2.56), (0.5, 1.28, 0.0), (0.65, 2.56, 2.56), (0.65, 1.28, 0.0), (0.8, 2.56, 2.56)
    ]  # fmt: skip
    nothing = measure(0, "mass", None, heat, truth & False, np.zeros_like(truth), 0.01)
    assert nothing.components == ()


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
