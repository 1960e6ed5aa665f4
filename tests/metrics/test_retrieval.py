from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.retrieval as other
from sklearn.metrics import average_precision_score

from tests.conftest import ORIENTATIONS, placed_scan
from tips_med.metrics import (
    MetricInputError,
    RetrievalLocalization,
    RetrievalMeanAveragePrecision,
    RetrievalRecall,
    peak_in_mask,
)

SCORES = np.array([0.9, 0.1, 0.8, 0.3, 0.7])
RELEVANT = np.array([1, 1, 0, 1, 0])
"""In the order of the ranking: relevant, not, not, relevant, relevant."""


def test_values_are_those_by_hand():
    recall = RetrievalRecall(k=(1, 3, 4))
    recall.update(SCORES, RELEVANT)
    assert {name: round(float(value), 6) for name, value in recall.compute().items()} == {
        "recall@1": round(1 / 3, 6),
        "recall@3": round(1 / 3, 6),
        "recall@4": round(2 / 3, 6),
    }
    precision = RetrievalMeanAveragePrecision()
    precision.update(SCORES, RELEVANT)
    assert float(precision.compute()["map"]) == pytest.approx((1 / 1 + 2 / 4 + 3 / 5) / 3)
    first = RetrievalMeanAveragePrecision(k=2)
    first.update(SCORES, RELEVANT)
    assert float(first.compute()["map@2"]) == pytest.approx(0.5)
    place = RetrievalLocalization(k=(1, 4))
    place.update(SCORES, RELEVANT, np.array([0, 1, 1, 1, 0]))
    found = {name: float(value) for name, value in place.compute().items()}
    # At 1: found, at the wrong place. At 4: two found of three, one of them at the right place.
    assert found == pytest.approx({"localization@1": 0, "pointing@1": 0, "localization@4": 1 / 3, "pointing@4": 1 / 2})


def test_values_are_those_of_other_libraries(rng):
    recall, precision = RetrievalRecall(k=(1, 5, 10)), RetrievalMeanAveragePrecision()
    theirs = {k: other.RetrievalRecall(empty_target_action="skip", top_k=k) for k in (1, 5, 10)}
    their_map = other.RetrievalMAP(empty_target_action="skip")
    by_sklearn = []
    for query in range(20):
        scores = (rng.permutation(40) + 1) / 41.0  # torchmetrics takes a score of 0 for no rank
        relevant = rng.random(40) < 0.15 * (query % 3)  # a third of the queries have none
        recall.update(scores, relevant)
        precision.update(torch.from_numpy(scores), torch.from_numpy(relevant))
        tensors = torch.from_numpy(scores), torch.from_numpy(relevant), torch.full((40,), query)
        for metric in (*theirs.values(), their_map):
            metric.update(*tensors)
        if relevant.any():
            by_sklearn.append(average_precision_score(relevant, scores))
    for k, metric in theirs.items():
        assert float(recall.compute()[f"recall@{k}"]) == pytest.approx(float(metric.compute()), abs=1e-6)
    assert float(precision.compute()["map"]) == pytest.approx(float(their_map.compute()), abs=1e-6)
    assert float(precision.compute()["map"]) == pytest.approx(np.mean(by_sklearn), abs=1e-6)
    assert precision.cases == len(by_sklearn)


def test_intervals_are_drawn_over_groups():
    metric = RetrievalRecall(k=(1,))
    for group in ("a", "b"):
        for _ in range(5):
            metric.update(np.array([1.0, 0.0]), np.array([group == "a", group == "b"]), patient=group)
    interval = metric.intervals(draws=200)["recall@1"]
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_a_query_without_relevant_scans_defines_nothing():
    for metric in (RetrievalRecall(), RetrievalMeanAveragePrecision()):
        metric.update(np.array([0.1, 0.2]), np.array([0, 0]))
        assert metric.cases == 0 and metric.compute() == {}


@pytest.mark.parametrize("name", list(ORIENTATIONS))
def test_a_peak_is_looked_up_in_the_patient(name):
    scan = placed_scan(ORIENTATIONS[name])
    mask = np.zeros(scan.shape, bool)
    mask[4, 7, 11] = True
    at = scan.lps_from_kji @ (4, 7, 11, 1)
    assert peak_in_mask(at[:3], mask, scan.lps_from_kji)
    assert not peak_in_mask((scan.lps_from_kji @ (5, 7, 11, 1))[:3], mask, scan.lps_from_kji)
    assert not peak_in_mask(at[:3] + 1000, mask, scan.lps_from_kji)
    assert not peak_in_mask((np.nan, 0, 0), mask, scan.lps_from_kji)


@pytest.mark.parametrize(
    ("scores", "relevant"),
    [([0.1, np.nan], [1, 0]), ([0.1], [1, 0]), ([[0.1]], [[1]]), ([0.1, 0.2], [0.3, 1])],
)
def test_what_cannot_be_meant_is_refused(scores, relevant):
    with pytest.raises(MetricInputError):
        RetrievalRecall().update(np.array(scores), np.array(relevant))


def test_numbers_of_first_scans_start_at_one():
    for k in ((), (0,)):
        with pytest.raises(MetricInputError):
            RetrievalRecall(k=k)
    with pytest.raises(MetricInputError):
        RetrievalMeanAveragePrecision(k=0)
    with pytest.raises(MetricInputError):
        peak_in_mask((0, 0), np.ones((2, 2, 2), bool), np.eye(4))
