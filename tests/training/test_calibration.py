from __future__ import annotations

import numpy as np
import pytest

from tips_med.model import Calibration, ModelCard
from tips_med.training.calibration import Observation, as_rows, decide, fit, summary


def observations(evidence, there, finding="mass"):
    return [
        Observation(n, finding, None, bool(t), float(e), 1.0 * bool(t), 0.5, 0.6 if t else 0.0, bool(t))
        for n, (e, t) in enumerate(zip(evidence, there))
    ]


def test_a_fitted_probability_is_as_often_right_as_it_says(rng):
    """Evidence drawn from two normal distributions one apart: the true slope is 1, the true intercept 0."""
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    fitted = fit(observations(evidence, there))
    assert fitted.slope == pytest.approx(1.0, abs=0.15)
    assert fitted.intercept == pytest.approx(0.0, abs=0.1)


def test_how_often_a_finding_is_there_does_not_matter(rng):
    there = np.arange(4000) % 20 == 0
    evidence = rng.normal(np.where(there, 0.5, -0.5), 1.0)
    assert fit(observations(evidence, there)).intercept == pytest.approx(0.0, abs=0.25)


def test_a_slope_is_never_negative_and_one_class_alone_changes_nothing():
    assert fit(observations([3, 2, -2, -3], [0, 0, 1, 1])).slope > 0
    assert fit(observations([1, 2], [1, 1])) == Calibration()


def test_what_is_not_there_is_called_absent_nearly_always(rng):
    """Two distributions four apart: of those that are not there, one in twenty may be called anything else."""
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 2.0, -2.0), 1.15)
    fitted = fit(observations(evidence, there))
    absent = np.array([fitted.probability(e) for e in evidence[~there]]) < fitted.absent_below
    assert absent.mean() >= 0.94
    assert 0.35 < fitted.absent_below < 0.5


def test_what_is_likelier_than_not_is_never_called_absent(rng):
    there = np.arange(4000) % 2 == 0
    evidence = rng.normal(np.where(there, 0.2, -0.2), 1.0)
    assert fit(observations(evidence, there)).absent_below == 0.5


def test_separable_evidence_stays_finite():
    fitted = fit(observations([-5, -4, 4, 5], [0, 0, 1, 1]))
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted.slope < 100


def test_a_summary_counts_by_finding():
    seen = [*observations([-3, 3, 2], [0, 1, 1]), *observations([1, -1], [0, 1], "nodule")]
    rows = summary(seen, {"": Calibration()})
    assert [row["finding"] for row in rows] == ["mass", "nodule"]
    assert (rows[0]["present"], rows[0]["absent"], rows[0]["auroc"]) == (2, 1, 1.0)
    assert rows[0]["sensitivity"] == rows[0]["specificity"] == 1.0
    assert rows[1]["auroc"] == 0.0
    assert summary(observations([1], [1]), {"": Calibration()})[0]["auroc"] is None
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
    decided = decide(card, seen, 30, ("mass", "nodule"), least_auroc=0.8)
    assert decided.findings == ("mass",)
    assert set(decided.calibration) == {"", "mass", "lung"}
    answered = {row["finding"]: row["answered"] for row in decided.rows}
    assert answered == {"mass": True, "nodule": False, "pleural_effusion": False}
    mass = decided.rows[0]
    assert (mass["present"], mass["tested_present"], mass["tested_absent"]) == (15, 5, 5)
    assert mass["sensitivity"] == mass["specificity"] == 1.0
