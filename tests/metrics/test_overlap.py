from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceHelper

from tips_med.metrics import GlobalDice, HitRate, SurfaceDice, dice, surface_dice

SPACING_MM = (2.5, 0.8, 1.1)


def ball(centre, radius_mm, shape=(16, 30, 26)):
    k, j, i = np.indices(shape)
    away = [(axis - c) * mm for axis, c, mm in zip((k, j, i), centre, SPACING_MM)]
    return sum(a**2 for a in away) < radius_mm**2


NEAR = ball((8, 15, 13), 7), ball((8.5, 17, 12), 6)


def test_dice_agrees_with_monai():
    helper = DiceHelper(include_background=True, reduction="none", ignore_empty=False)
    for mask, truth in (NEAR, (NEAR[0], NEAR[0]), (NEAR[0] & False, NEAR[1]), (NEAR[0] & False, NEAR[1] & False)):
        theirs, _ = helper(torch.from_numpy(mask)[None, None].float(), torch.from_numpy(truth)[None, None].float())
        assert dice(mask, truth) == pytest.approx(float(theirs))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of that package's age
def test_surface_dice_agrees_with_deepminds():
    surface_distance = pytest.importorskip("surface_distance")
    for tolerance_mm in (0.5, 1.0, 2.0):
        distances = surface_distance.compute_surface_distances(NEAR[1], NEAR[0], SPACING_MM)
        theirs = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)
        ours = surface_dice(*NEAR, SPACING_MM, tolerance_mm)
        assert 0 < ours <= 1
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_surface_dice_takes_the_spacing_along_each_axis():
    moved = ball((9, 15, 13), 7)  # by one slice, 2.5 mm
    assert surface_dice(NEAR[0], moved, SPACING_MM, 3.0) == 1.0
    assert surface_dice(NEAR[0], moved, SPACING_MM, 1.0) < 0.9
    assert surface_dice(NEAR[0], moved, (0.5, 0.8, 1.1), 1.0) == 1.0


def test_a_mask_at_the_edge_of_the_scan_has_a_surface_there():
    edge = np.zeros((4, 4, 4), bool)
    edge[0] = True
    assert surface_dice(edge, edge, (1.0, 1.0, 1.0)) == 1.0


def test_empty_masks_have_a_defined_value():
    nothing = NEAR[0] & False
    assert surface_dice(nothing, nothing, SPACING_MM) == 1.0
    assert surface_dice(NEAR[0], nothing, SPACING_MM) == surface_dice(nothing, NEAR[0], SPACING_MM) == 0.0


def test_global_dice_counts_an_empty_answer_to_an_empty_truth_as_right():
    metric = GlobalDice()
    nothing = NEAR[0] & False
    metric.update(nothing, nothing)
    metric.update(nothing, NEAR[0])
    assert float(metric.compute()["dice"]) == 0.5
    assert float(metric.compute()["dice_present"]) == 0.0


def test_hit_rate_is_a_threshold_of_dice():
    truth = np.zeros((1, 1, 100), bool)
    truth[..., :10] = True
    metric = HitRate()
    for marked in (9, 10, 100):  # by chance 2 * 10 / 110 = 0.18
        mask = np.zeros_like(truth)
        mask[..., -marked:] = True
        metric.update(mask, truth)
    metric.update(np.zeros_like(truth), np.zeros_like(truth))  # not there, not marked: no hit and no miss
    assert float(metric.compute()["hit_rate"]) == pytest.approx(1 / 3)


def test_masks_on_two_grids_are_refused():
    with pytest.raises((ValueError, TypeError)):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_surface_dice_of_a_set_is_the_mean():
    metric = SurfaceDice(1.0)
    metric.update(*NEAR, SPACING_MM)
    metric.update(NEAR[0], NEAR[0], SPACING_MM)
    assert float(metric.compute()["nsd"]) == pytest.approx((surface_dice(*NEAR, SPACING_MM, 1.0) + 1) / 2)
