from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from tips_med.metrics import FalsePositiveVolume, PresenceDetection


def told(metric, probabilities, present):
    for probability, there in zip(probabilities, present):
        metric.update(float(probability), bool(there))
    return metric


def test_auroc_is_the_rank_statistic(rng):
    present = rng.random(60) < 0.4
    probability = np.clip(rng.normal(0.4 + 0.2 * present, 0.2), 0, 1)
    values = told(PresenceDetection(), probability, present).compute()
    u = mannwhitneyu(probability[present], probability[~present]).statistic
    assert float(values["auroc"]) == pytest.approx(u / (present.sum() * (~present).sum()))


def test_sensitivity_is_told_at_a_specificity():
    absent = np.linspace(0.0, 0.5, 20)
    present = np.array([0.49, 0.6, 0.7, 0.1])
    values = told(PresenceDetection(), [*absent, *present], [False] * 20 + [True] * 4).compute()
    # One of twenty absent ones may be called present: the threshold lies just above 0.474.
    assert float(values["sensitivity"]) == pytest.approx(3 / 4)


def test_calibration_error_by_hand():
    values = told(PresenceDetection(), [0.85] * 10 + [0.25] * 10, [True] * 6 + [False] * 4 + [True] * 3 + [False] * 7)
    # Told 0.85 and true 0.6; told 0.25 and true 0.3.
    assert float(values.compute()["calibration_error"]) == pytest.approx((0.25 + 0.05) / 2, abs=1e-6)


def test_one_class_alone_has_no_auroc():
    values = told(PresenceDetection(), [0.2, 0.3], [True, True]).compute()
    assert np.isnan(float(values["auroc"]))
    assert np.isnan(float(values["sensitivity"]))


def test_false_volume_is_of_absent_findings_only():
    metric = FalsePositiveVolume()
    truth, mask = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    metric.update(mask, truth, 0.5)
    mask[0] = True
    metric.update(mask, truth, 0.5)
    truth[0] = True
    metric.update(mask, truth, 0.5)
    assert metric.cases == 2
    assert float(metric.compute()["false_ml"]) == 4.0
    assert float(metric.compute()["clean"]) == 0.5
