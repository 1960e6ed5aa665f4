from __future__ import annotations

import numpy as np
import pytest

from tips_med.metrics import ParaphraseStability, SwapTest


@pytest.fixture
def halves():
    left, right = np.zeros((2, 2, 8), bool), np.zeros((2, 2, 8), bool)
    left[..., 5:], right[..., :3] = True, True
    return left, right


def test_a_model_that_listens_follows_and_one_that_does_not_fails(halves):
    left, right = halves
    listens, deaf = SwapTest(), SwapTest()
    listens.update(left, right, left)
    deaf.update(left, left, left)
    assert {k: float(v) for k, v in listens.compute().items()} == {"follows": 1.0, "drop": 1.0, "leak": 0.0}
    assert {k: float(v) for k, v in deaf.compute().items()} == {"follows": 0.0, "drop": 0.0, "leak": 1.0}


def test_finding_nothing_either_way_is_no_success(halves):
    left, right = halves
    metric = SwapTest()
    metric.update(left & False, right, left)
    assert float(metric.compute()["follows"]) == 0.0
    metric.update(left, right, left & False)
    assert metric.cases == 1  # a phrase that is not true tells nothing


def test_paraphrases_are_compared_pair_by_pair(halves):
    left, right = halves
    metric = ParaphraseStability()
    metric.update([left, left, right], [0.5, 0.5, 0.5])
    assert float(metric.compute()["stability"]) == pytest.approx(1 / 3)
    assert float(metric.compute()["spread"]) == 0.0
    metric.update([left], [0.9])
    assert metric.cases == 1
