from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index

from tips_med.metrics import ContrastToNoise, PointingGame, ThresholdIoU


@pytest.fixture
def case(rng):
    truth = np.zeros((4, 6, 5), bool)
    truth[1:3, 2:5, 1:4] = True
    heat = rng.random(truth.shape).astype(np.float32) * 0.6
    heat[truth] += 0.3
    return heat, truth


def test_the_pointing_game_looks_at_the_highest_value(case):
    heat, truth = case
    metric = PointingGame()
    metric.update(heat, truth)
    miss = heat.copy()
    miss[0, 0, 0] = 2
    metric.update(miss, truth)
    unseen = heat.copy()
    unseen[0] = np.nan  # not seen is not the highest
    metric.update(unseen, truth)
    assert float(metric.compute()["pointing"]) == pytest.approx(2 / 3)


def test_a_constant_map_earns_only_chance(case):
    _, truth = case
    metric = PointingGame()
    metric.update(np.full(truth.shape, 0.5, np.float32), truth)
    assert float(metric.compute()["pointing"]) == pytest.approx(truth.mean())


def test_absent_findings_are_left_out_of_measures_of_place(case):
    heat, truth = case
    for metric in (PointingGame(), ThresholdIoU(), ContrastToNoise()):
        metric.update(heat, truth & False)
        assert metric.cases == 0
        assert metric.compute() == {}
        assert metric.intervals() == {}


def test_contrast_to_noise_by_hand():
    heat = np.array([[[0.0, 0.2, 0.8, 1.0, np.nan]]], np.float32)
    truth = np.array([[[False, False, True, True, True]]])
    metric = ContrastToNoise()
    metric.update(heat, truth)
    # Means 0.1 and 0.9, population variances 0.01 and 0.01.
    assert float(metric.compute()["cnr"]) == pytest.approx(0.8 / np.sqrt(0.02), rel=1e-5)


def test_iou_over_thresholds_agrees_with_torchmetrics(case):
    heat, truth = case
    metric = ThresholdIoU()
    metric.update(heat, truth)
    theirs = [
        # Theirs takes probabilities above the threshold, ours from it; no value here is equal to one.
        float(binary_jaccard_index(torch.from_numpy(heat), torch.from_numpy(truth).int(), threshold=t))
        for t in (0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    assert float(metric.compute()["miou"]) == pytest.approx(np.mean(theirs))
