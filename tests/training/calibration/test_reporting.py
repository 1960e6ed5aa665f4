from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.calibration.observed import drawn, observations, plain
from tips_med.card import Calibration, ModelCard
from tips_med.training.calibration import (
    as_rows,
    calibrate_model,
    fit_calibration,
    summary,
)


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


def test_what_is_not_observed_keeps_its_calibration():
    """Who teaches a model one organ and calibrates it does not lose what all findings were calibrated to."""
    own = {"nodule": Calibration(slope=2.0), "mass@liver": Calibration(slope=3.0), "lung": Calibration(threshold=0.4)}
    card = ModelCard("toy", ("nodule", "mass"), ("lung", "liver"), calibration=own)
    there = np.arange(30) % 2 == 0
    real = [replace(one, patient=f"p{one.scene}") for one in observations(np.where(there, 3, -3), there, "liver")]
    decided = calibrate_model(card, real, 0)
    assert decided.findings == ("nodule", "mass")
    assert {term: one for term, one in decided.calibration.items() if term != "liver"} == own
    assert decided.calibration["liver"].evidence == "real"


def test_every_scan_is_judged_by_what_the_others_fit():
    """In the last third the evidence is 10 higher than elsewhere: what the others fit calls nothing absent there."""
    there = np.arange(30) % 2 == 0
    seen = observations(np.where(there, 3.0, -3.0) + 10 * (np.arange(30) >= 20), there)
    row = calibrate_model(ModelCard("toy", ("mass",)), seen, 30).rows[0]
    assert row["specificity"] == pytest.approx(2 / 3)
    assert calibrate_model(ModelCard("toy", ("mass",)), seen[:20], 20).rows[0]["specificity"] == 1.0


def test_a_summary_says_what_was_called_what_and_how_much_is_marked_wrongly():
    seen = observations([3.0, 0.0, -3.0, 3.0, 0.0, -3.0], [1, 1, 1, 0, 0, 0])
    seen[1] = replace(seen[1], outlined=False)
    (row,) = summary(seen, plain)
    assert row["there_called"] == row["not_there_called"] == {"present": 1, "unsure": 1, "absent": 1}
    assert (row["sensitivity"], row["specificity"]) == pytest.approx((2 / 3, 1 / 3))
    assert (row["outlined"], row["dice"], row["hit"]) == (2, pytest.approx(0.6), 1.0)
    assert (row["false_ml_median"], row["false_ml_mean"]) == pytest.approx((0.5, 1 / 3))
    assert row["auroc"] == pytest.approx(0.5)
    (nothing,) = summary(observations([3.0], [1]), plain)
    assert (nothing["specificity"], nothing["false_ml_median"], nothing["false_ml_mean"]) == (None, None, None)
    assert summary(observations([-3.0], [0]), plain)[0]["dice"] is None


def test_real_patients_are_judged_without_themselves_and_reported_apart():
    there = np.arange(30) % 2 == 0
    painted = observations(np.where(there, 3.0, -3.0), there)
    real = [
        replace(one, patient=f"p{one.scene // 2}")
        for one in observations([13.0, 7.0, 13.0, 7.0, 3.0, -3.0], [1, 0, 1, 0, 1, 0])
    ]
    decided = calibrate_model(ModelCard("toy", ("mass",)), painted + real, 30)
    (row,), (real_row,) = decided.rows, decided.real_rows
    assert (row["present"], row["absent"]) == (15, 15)
    assert (real_row["present"], real_row["absent"]) == (3, 3)
    assert real_row["sensitivity"] == 1.0
    only_real = calibrate_model(ModelCard("toy", ("mass",)), real, 0)
    assert (only_real.rows, only_real.findings) == ([], ("mass",))


def test_what_nobody_asked_about_is_kept_unless_findings_are_named():
    card = ModelCard("toy", ("mass", "nodule"))
    seen = observations([3, -3], [1, 0])
    assert calibrate_model(card, seen, 2).findings == ("mass", "nodule")
    assert calibrate_model(card, seen, 2, ("mass",)).findings == ("mass",)


def test_points_are_measured_on_scans_that_they_were_not_fitted_on(rng):
    seen = drawn(rng, patients=40)
    card = ModelCard("toy", ("mass",), structures=())
    points = calibrate_model(card, seen, 200).calibration["mass"].points
    real, painted = points["balanced"].real, points["balanced"].painted
    assert (real.there.total, real.not_there.total) == (20, 20)
    assert (painted.there.total, painted.not_there.total) == (80, 80)
    shares = [points[name].real.sensitivity for name in ("sensitive", "balanced", "specific")]
    assert shares == sorted(shares, reverse=True)


def test_a_patient_is_not_judged_by_its_own_scan(rng):
    """One patient with evidence like no other: a fit that had seen it would call it present."""
    plain = drawn(rng)
    odd = [replace(one, scene=900 + n, patient="odd", there=True, evidence=-1.0) for n, one in enumerate(plain[:4])]
    with_odd = calibrate_model(ModelCard("toy", ("mass",), structures=()), [*plain, *odd], 200).calibration["mass"]
    alone = fit_calibration(plain).at("balanced")
    expected = "absent" if alone.probability(-1.0) < alone.absent_below else "unsure"
    assert getattr(with_odd.points["balanced"].real.there, expected) == 4


def test_a_kept_calibration_answers_as_before_and_gains_its_points(rng):
    own = Calibration(slope=1.7, intercept=-0.4, absent_below=0.31, present_above=0.57, threshold=0.65)
    card = ModelCard("toy", ("mass",), structures=(), calibration={"mass": own})
    kept = calibrate_model(card, drawn(rng, patients=20), 200, keep=True).calibration["mass"]
    assert replace(kept, points={}) == own
    assert (kept.at("balanced").absent_below, kept.at("balanced").present_above) == (0.31, 0.57)
    assert kept.at("sensitive").present_above <= 0.57 <= kept.at("specific").present_above


def test_the_reliability_curve_counts_every_answer_once(rng):
    report = calibrate_model(ModelCard("toy", ("mass",), structures=()), drawn(rng, patients=60), 200)
    assert set(report.by_patient) == {f"p{n}" for n in range(60)}
    assert sum(sum(one["balanced"]["there"].values()) for one in report.by_patient.values()) == 30
    for scans, count in (("real", 60), ("painted", 140)):
        assert sum(row["count"] for row in report.reliability[scans]) == count
    rows = [row for row in report.reliability["painted"] if row["count"] >= 20]
    assert all(abs(row["mean_probability"] - row["observed"]) < 0.2 for row in rows)


def test_what_is_seen_elsewhere_is_calibrated_by_itself(rng):
    """A lesion in the liver has its own sigmoid, and that of lesions in the lung does not move."""
    lung = [replace(one, finding="lesion") for one in drawn(rng)]
    liver = [replace(one, finding="lesion@liver", evidence=one.evidence - 4) for one in drawn(rng)]
    card = ModelCard("toy", ("lesion",), structures=(), places={"lesion": ("lung", "liver")})
    report = calibrate_model(card, [*lung, *liver], 200)
    assert report.findings == ("lesion",)
    assert report.calibration["lesion"] == calibrate_model(card, lung, 200).calibration["lesion"]
    assert report.calibration["lesion@liver"].intercept > report.calibration["lesion"].intercept + 1
