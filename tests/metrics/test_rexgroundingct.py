"""The script's definition, written a second time, slowly, with scikit-image; and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from tips_med.metrics import GlobalDice, HitRate, InstanceDetection, ReXGroundingCT


def by_hand(cases):
    """Precision, recall, F1, Dice and hit rate of (mask, instance labels) by the definition, without our code."""
    matched = predicted = true = 0
    dices = []
    for mask, labels in cases:
        regions = [r for r in regionprops(label(mask, connectivity=2)) if r.area >= 10]
        regions = sorted(regions, key=lambda r: -r.area)[:50]
        components = [set(map(tuple, region.coords)) for region in regions]
        instances = [set(map(tuple, np.argwhere(labels == n))) for n in np.unique(labels[labels > 0])]
        predicted, true = predicted + len(components), true + len(instances)
        ours, theirs = set().union(*components), set().union(*instances)
        dices.append(2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 1.0)
        scores = (
            (2 * len(a & b) / (len(a) + len(b)), n, m)
            for n, a in enumerate(components)
            for m, b in enumerate(instances)
        )
        pairs = sorted(scores, reverse=True)
        used = set()
        for score, n, m in pairs:
            if score >= 0.2 and not {("p", n), ("t", m)} & used:
                used |= {("p", n), ("t", m)}
                matched += 1
    return {
        "rex_precision": matched / predicted,
        "rex_recall": matched / true,
        "rex_f1": 2 * matched / (predicted + true),
        "rex_dice": np.mean(dices),
        "rex_hit_rate": np.mean([d >= 0.1 for d in dices]),
    }


def values(metric):
    return {name: float(value) for name, value in metric.compute().items()}


def test_it_agrees_with_a_second_implementation(rng):
    metric, cases = ReXGroundingCT(), []
    for n in range(6):
        labels = np.zeros((9, 24, 20), np.uint8)
        for instance in range(1, 5 + n):
            k, j, i = (int(rng.integers(0, s - 4)) for s in labels.shape)
            size = int(rng.integers(1, 5))
            labels[k : k + size, j : j + size, i : i + size] = instance  # some overlap, touch or are tiny
        mask = np.roll(labels > 0, 1, axis=1) & (rng.random(labels.shape) < 0.97) | (rng.random(labels.shape) < 0.02)
        cases.append((mask, labels))
        metric.update(mask, labels)
    assert values(metric) == pytest.approx(by_hand(cases))


@pytest.fixture
def small_and_large():
    """Two instances that touch, one of 8 voxels; the prediction has all of it."""
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[1:4, 1:4, 4:7] = 2
    labels[1:3, 8:10, 8:10] = 3
    return labels > 0, labels


def test_instances_are_the_stored_ones_and_only_predictions_are_filtered(small_and_large):
    mask, labels = small_and_large
    theirs, ours = ReXGroundingCT(), InstanceDetection()
    theirs.update(mask, labels)
    ours.update(mask, labels > 0)
    assert values(ours)["recall"] == 1.0  # one component of 54 voxels; the small one is dropped from both
    found = values(theirs)  # it matches one of the two that touch
    assert (found["rex_precision"], found["rex_recall"]) == (1.0, pytest.approx(1 / 3))
    assert found["rex_f1"] == pytest.approx(0.5)


def test_the_dice_of_the_two_modes_differ_by_what_is_dropped(small_and_large):
    mask, labels = small_and_large
    full, plain, dice, hits = ReXGroundingCT(), ReXGroundingCT(global_only=True), GlobalDice(), HitRate()
    for metric in (full, plain):
        metric.update(mask, labels)
    dice.update(mask, labels > 0)
    hits.update(mask, labels > 0)
    assert values(full)["rex_dice"] == pytest.approx(2 * 54 / (54 + 62))
    assert values(plain) == {"rex_global_dice": 1.0, "rex_global_hit_rate": 1.0}
    assert values(plain)["rex_global_dice"] == values(dice)["dice"]
    assert values(plain)["rex_global_hit_rate"] == values(hits)["hit_rate"]


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        (False, False, (1.0, 1.0, 1.0, 1.0, 1.0)),
        (False, True, (1.0, 0.0, 0.0, 0.0, 0.0)),
        (True, False, (0.0, 1.0, 0.0, 0.0, 0.0)),
    ],
)
def test_what_is_empty_counts_as_the_script_has_it(mask, truth, expected):
    box = np.zeros((4, 8, 8), bool)
    box[1:4, 2:6, 2:6] = True
    metric = ReXGroundingCT()
    metric.update(box & mask, (box & truth).astype(np.uint8))
    names = ("rex_precision", "rex_recall", "rex_f1", "rex_dice", "rex_hit_rate")
    assert tuple(values(metric)[name] for name in names) == expected


def test_a_truth_that_fills_its_box_has_all_its_instances():
    labels = np.repeat(np.arange(1, 3, dtype=np.uint8), 32).reshape(4, 4, 4)
    metric = ReXGroundingCT()
    metric.update(labels == 1, labels)
    assert values(metric)["rex_recall"] == 0.5


def test_no_more_than_fifty_components_are_kept():
    mask = np.zeros((1, 60, 40), bool)
    mask[:, :, ::2] = True
    mask[:, 3::4] = False
    rows = [(0, slice(4 * n, 4 * n + 3), slice(2 * m, 2 * m + 1)) for n in range(15) for m in range(20)]
    for place in rows:
        mask[place] = True
    mask = np.repeat(mask, 4, axis=0)  # 300 columns of 12 voxels
    metric = ReXGroundingCT()
    metric.update(mask, mask.astype(np.uint8))
    assert values(metric)["rex_dice"] == pytest.approx(2 * 600 / (600 + 3600))
