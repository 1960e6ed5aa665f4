from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from tips_med.metrics import InstanceDetection, count_instances, find_components


def boxes(*corners, size=3, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    for k, j, i in corners:
        mask[k : k + size, j : j + size, i : i + size] = True
    return mask


def test_pieces_are_18_connected_like_scikit_image(rng):
    mask = rng.random((12, 12, 12)) < 0.12
    ours, count = find_components(mask, min_voxels=1, max_instances=10_000)
    theirs = label(mask, connectivity=2)
    assert count == theirs.max()
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist()))
    assert len(pairs) == count + 1  # one to one, and background to background


def test_small_pieces_and_those_past_the_largest_are_dropped():
    mask = boxes((0, 0, 0), (10, 10, 10))
    mask[5, 5, 0:9] = True  # nine voxels: one too few
    assert find_components(mask)[1] == 2
    mask[5, 5, 9] = True
    assert find_components(mask)[1] == 3
    labels, count = find_components(mask, max_instances=2)
    assert count == 2
    assert labels[5, 5, 0] == 0


def test_matches_are_one_to_one_the_best_first():
    truth = boxes((2, 2, 2), (10, 10, 10))
    assert count_instances(truth, truth) == (2, 0, 0)
    # One large piece over both: Dice with either is 2 * 27 / (27 + 11 ** 3) = 0.04, below 0.2.
    assert count_instances(boxes((2, 2, 2), size=11), truth) == (0, 1, 2)
    # Two pieces of one truth: only the better one is a match.
    split = truth.copy()
    split[3] = False
    split[10:13] = False
    assert count_instances(split, truth, min_voxels=5) == (1, 1, 1)


def test_a_match_needs_a_dice_of_a_fifth():
    truth, moved = boxes((2, 2, 2)), boxes((4, 2, 2))  # a third overlaps: Dice 1/3
    assert count_instances(moved, truth) == (1, 0, 0)
    assert count_instances(moved, truth, min_dice=0.34) == (0, 1, 1)


def test_counts_are_pooled_over_the_set():
    metric = InstanceDetection()
    metric.update(boxes((2, 2, 2)), boxes((2, 2, 2)))
    metric.update(boxes((2, 2, 2), (8, 8, 8), (14, 14, 14)), boxes())
    values = metric.compute()
    assert float(values["precision"]) == pytest.approx(1 / 4)
    assert float(values["recall"]) == 1.0
    assert float(values["f1"]) == pytest.approx(2 / 5)


def test_nothing_predicted_and_nothing_there_is_undefined():
    metric = InstanceDetection()
    metric.update(boxes(), boxes())
    assert all(np.isnan(float(value)) for value in metric.compute().values())
