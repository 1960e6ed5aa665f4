from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from tips_med.metrics import GlobalDice, HitRate


def masks(dices):
    """Pairs of masks of given overlap, in tenths."""
    truth = np.zeros((1, 1, 20), bool)
    truth[..., :10] = True
    for tenths in dices:
        mask = np.zeros_like(truth)
        mask[..., 10 - tenths : 20 - tenths] = True
        yield mask, truth


def test_cases_of_one_patient_are_drawn_together():
    """Two patients, ten equal cases each: patients give the widest interval there is, cases a narrow one."""
    by_patient, by_case = GlobalDice(), GlobalDice()
    for n, (mask, truth) in enumerate(masks([10] * 10 + [0] * 10)):
        by_patient.update(mask, truth, patient="one" if n < 10 else "two")
        by_case.update(mask, truth)
    wide, narrow = by_patient.intervals(300)["dice"], by_case.intervals(300)["dice"]
    assert (wide.value, wide.low, wide.high) == (0.5, 0.0, 1.0)
    assert 0.2 < narrow.low < 0.5 < narrow.high < 0.8


def test_one_patient_has_no_interval():
    metric = GlobalDice()
    for mask, truth in masks([10, 0]):
        metric.update(mask, truth, patient="one")
    interval = metric.intervals(100)["dice"]
    assert interval.value == 0.5
    assert np.isnan([interval.low, interval.high]).all()


def test_intervals_are_reproducible_and_cover_the_normal_theory():
    metric = GlobalDice()
    dices = [3, 5, 7, 9, 4, 6, 8, 5, 6, 7] * 4
    for mask, truth in masks(dices):
        metric.update(mask, truth)
    interval = metric.intervals(1000)["dice"]
    assert interval == metric.intervals(1000)["dice"]
    half = 1.96 * np.std(dices) / 10 / np.sqrt(len(dices))
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.15)


def test_a_metric_can_be_reset_cloned_and_collected():
    both = MetricCollection([GlobalDice(), HitRate()])
    for mask, truth in masks([0, 10]):
        both.update(mask, truth, patient="a")
    assert {name: float(value) for name, value in both.compute().items()} == {
        "dice": 0.5,
        "dice_present": 0.5,
        "hit_rate": 0.5,
    }
    both.reset()
    assert all(metric.cases == 0 for metric in both.values())


def test_rows_of_two_processes_are_put_together():
    one, two = GlobalDice(), GlobalDice()
    for metric, tenths in ((one, 10), (two, 0)):
        metric.update(*next(masks([tenths])), patient="a")
    one.rows, one.patients = [torch.cat([*one.rows, *two.rows])], [torch.cat([*one.patients, *two.patients])]
    assert float(one.compute()["dice"]) == 0.5
    assert one.cases == 2
    assert len(set(one.patients[0].tolist())) == 1
