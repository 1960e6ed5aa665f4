from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, axial_affine
from tips_med.card import Calibration
from tips_med.grounding.instances import find_instances, long_axis_mm
from tips_med.scan import Scan


def test_long_axis_is_measured_within_a_slice_in_mm():
    mask = np.zeros((3, 10, 12), bool)
    mask[1, 2, 3:9] = True  # six columns of 1.1 mm, one row of 0.8 mm
    expected = np.hypot(6 * 1.1, 0.8)
    assert long_axis_mm(mask, ORIENTATIONS["axial"]) == pytest.approx(expected)
    assert long_axis_mm(mask, ORIENTATIONS["oblique"]) == pytest.approx(expected)


def test_a_single_voxel_has_the_long_axis_of_its_own_diagonal():
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 1, 1] = True
    assert long_axis_mm(mask, ORIENTATIONS["axial"]) == pytest.approx(np.hypot(0.8, 1.1))


def heat_with(*boxes: tuple[tuple[slice, slice, slice], float]) -> np.ndarray:
    heat = np.full((12, 30, 40), 0.01, np.float32)
    for box, value in boxes:
        heat[box] = value
    return heat


FAR = (slice(8, 11), slice(18, 26), slice(28, 36))
NEAR = (slice(1, 4), slice(2, 10), slice(3, 11))
SCAN = Scan(np.full((12, 30, 40), -300, np.float32), axial_affine((2.0, 1.0, 1.0)), "CT", "HU")


def test_pieces_are_ordered_by_score_and_labelled_in_that_order():
    heat = heat_with((NEAR, 0.7), (FAR, 0.95))
    labels, found = find_instances(heat, SCAN.lps_from_kji, SCAN, None, Calibration(), 0.02, 0.5)
    assert [round(instance.score, 2) for instance in found] == [0.95, 0.7]
    assert labels[9, 20, 30] == 1
    assert labels[2, 5, 5] == 2
    assert found[0].volume_ml == pytest.approx((labels == 1).sum() * 2 / 1000)


def test_small_and_doubtful_pieces_are_dropped():
    heat = heat_with((NEAR, 0.7), (FAR, 0.95), ((slice(6, 7), slice(15, 16), slice(2, 3)), 0.99))
    _, found = find_instances(heat, SCAN.lps_from_kji, SCAN, None, Calibration(), 0.02, 0.8)
    assert [round(instance.score, 2) for instance in found] == [0.95]


def test_beside_a_surer_piece_others_must_be_sure_enough_themselves():
    heat = heat_with((NEAR, 0.7), (FAR, 0.95))
    strict = Calibration(min_secondary_logit=2.0)  # the logit of 0.88
    _, found = find_instances(heat, SCAN.lps_from_kji, SCAN, None, strict, 0.02, 0.5)
    assert [round(instance.score, 2) for instance in found] == [0.95]
    _, alone = find_instances(heat_with((NEAR, 0.7)), SCAN.lps_from_kji, SCAN, None, strict, 0.02, 0.5)
    assert [round(instance.score, 2) for instance in alone] == [0.7]


def test_pieces_that_share_an_edge_are_one_and_those_that_share_a_corner_are_two():
    first, second = (slice(2, 6), slice(6, 10))
    edge = heat_with(((first, first, first), 0.9), ((first, second, second), 0.9))
    corner = heat_with(((first, first, first), 0.9), ((second, second, second), 0.9))
    assert len(find_instances(edge, SCAN.lps_from_kji, SCAN, None, Calibration(), 0.0, 0.5)[1]) == 1
    assert len(find_instances(corner, SCAN.lps_from_kji, SCAN, None, Calibration(), 0.0, 0.5)[1]) == 2


def test_mean_hu_leaves_out_what_was_not_measured():
    voxels = SCAN.voxels.copy()
    voxels[8:11, 18:22, 28:36] = np.nan
    scan = Scan(voxels, SCAN.lps_from_kji, "CT", "HU")
    _, found = find_instances(heat_with((FAR, 0.9)), scan.lps_from_kji, scan, None, Calibration(), 0.0, 0.5)
    assert found[0].mean_hu == -300


def test_a_cold_map_has_no_pieces():
    labels, found = find_instances(heat_with(), SCAN.lps_from_kji, SCAN, None, Calibration(), 0.0, 0.5)
    assert found == ()
    assert not labels.any()
