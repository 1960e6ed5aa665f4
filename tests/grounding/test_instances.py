from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, axial_affine
from tips_med.card import Calibration
from tips_med.geometry import transform_points
from tips_med.grounding.instances import filter_by_size, find_instances, long_axis_mm
from tips_med.grounding.thorax import Hemithorax, Thorax
from tips_med.scan import Provenance, Scan


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


def only(*boxes, min_volume_ml: float = 0.0, **calibration):
    labels, found = find_instances(
        heat_with(*boxes), SCAN.lps_from_kji, SCAN, None, Calibration(**calibration), min_volume_ml, 0.5
    )
    return labels, found


def test_a_piece_lies_where_it_is_measured():
    """A box of 4 slices of 2 mm, 8 rows and 8 columns of 1 mm; labels fill it and nothing else."""
    box = (slice(3, 7), slice(10, 18), slice(20, 28))
    scan = replace(SCAN, provenance=Provenance("dicom", instance_uids=tuple(f"1.{k}" for k in range(12))))
    labels, (piece,) = find_instances(heat_with((box, 0.9)), scan.lps_from_kji, scan, None, Calibration(), 0.0, 0.5)
    inside = np.zeros(scan.shape, bool)
    inside[box] = True
    np.testing.assert_array_equal(labels, inside)
    assert piece.volume_ml == pytest.approx(4 * 8 * 8 * 2 / 1000)
    assert piece.long_axis_mm == pytest.approx(np.hypot(8, 8))
    assert (piece.slices, piece.instance_uids) == ((3, 6), ("1.3", "1.4", "1.5", "1.6"))
    np.testing.assert_allclose(piece.centroid_lps, (23.5, 13.5, 2 * 4.5))
    np.testing.assert_allclose(piece.peak_lps, piece.centroid_lps, atol=2)
    assert (piece.side, piece.region) == (None, "")


def test_a_map_on_another_grid_marks_the_same_place_of_the_scan():
    """The map's cells are twice as large and moved; its box covers known millimetres."""
    lps_from_heat = axial_affine((4.0, 2.0, 2.0))
    lps_from_heat[:3, 3] = (5.0, 3.0, -2.0)
    heat = np.full((6, 12, 14), 0.01, np.float32)
    heat[1:4, 2:8, 3:9] = 0.99
    labels, (piece,) = find_instances(heat, lps_from_heat, SCAN, None, Calibration(), 0.0, 0.5)
    points = transform_points(SCAN.lps_from_kji, np.argwhere(labels))
    np.testing.assert_allclose(piece.centroid_lps, (5 + 2 * 5.5, 3 + 2 * 4.5, -2 + 4 * 2), atol=0.6)
    np.testing.assert_allclose(points.min(axis=0), (10.5, 6.5, 0.5), atol=1.5)
    np.testing.assert_allclose(points.max(axis=0), (21.5, 17.5, 11.5), atol=1.5)


def test_the_threshold_cuts_the_map():
    assert only((FAR, 0.6))[1]
    assert not only((FAR, 0.6), threshold=0.7)[1]
    assert only((FAR, 0.6), threshold=0.6)[1]


def test_a_piece_of_just_the_least_volume_is_kept():
    volume_ml = 3 * 8 * 8 * 2 / 1000
    assert only((FAR, 0.9), min_volume_ml=volume_ml)[1]
    assert not only((FAR, 0.9), min_volume_ml=volume_ml + 0.001)[1]


def test_a_missing_slice_does_not_divide_a_piece_and_is_no_part_of_it():
    heat, voxels = heat_with(((slice(3, 9), *FAR[1:]), 0.9)), SCAN.voxels.copy()
    heat[5], voxels[5] = np.nan, np.nan
    scan = replace(SCAN, voxels=voxels)
    labels, found = find_instances(heat, scan.lps_from_kji, scan, None, Calibration(), 0.0, 0.5)
    assert len(found) == 1
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [3, 4, 6, 7, 8]
    assert found[0].volume_ml == pytest.approx(5 * 8 * 8 * 2 / 1000)


def test_of_two_slabs_that_were_seen_the_nearest_stands_for_one_that_was_not():
    """Two slabs are missing between a hot one and a cold one: the one beside the hot one is hot."""
    heat = heat_with(((slice(2, 4), slice(5, 15), slice(5, 15)), 0.9))
    heat[4:6] = np.nan
    labels, _ = find_instances(heat, SCAN.lps_from_kji, SCAN, None, Calibration(), 0.0, 0.5)
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [2, 3, 4]


def thorax(sides_known: bool = True) -> Thorax:
    """Columns below 20 are the right side, the others the left one; heights rise with the slices."""
    side = np.ones((12, 30, 40), np.uint8)
    side[:, :, 20:] = 2
    side[:, 28:] = 0
    height = np.tile((np.arange(12) + 0.5) / 12, (2, 1))
    part = Hemithorax(1000.0, 1.0, False, False, True)
    return Thorax(side, side, height, (part, part), sides_known, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("columns", "rows", "named"),
    [
        (slice(3, 11), slice(2, 10), ("right", "lower third of the right lung")),
        (slice(28, 36), slice(2, 10), ("left", "lower third of the left lung")),
        (slice(14, 26), slice(2, 10), ("both", "both lungs")),
        (slice(11, 21), slice(2, 10), ("right", "lower third of the right lung")),  # a tenth of it crosses over
        (slice(28, 36), slice(28, 30), (None, "outside the lungs")),
    ],
)
def test_a_piece_has_the_side_that_most_of_it_lies_on(columns, rows, named):
    heat = heat_with(((slice(1, 4), rows, columns), 0.9))
    _, (piece,) = find_instances(heat, SCAN.lps_from_kji, SCAN, thorax(), Calibration(), 0.0, 0.5)
    assert (piece.side, piece.region) == named


def test_where_sides_are_not_known_none_is_named():
    for columns in (slice(14, 26), slice(3, 11)):
        heat = heat_with(((slice(1, 4), slice(2, 10), columns), 0.9))
        _, (piece,) = find_instances(heat, SCAN.lps_from_kji, SCAN, thorax(False), Calibration(), 0.0, 0.5)
        assert piece.side is None


def test_a_size_chooses_the_pieces_that_are_about_as_long():
    boxes = [
        ((slice(1, 4), slice(2, 2 + n), slice(at, at + n)), p)
        for n, at, p in ((4, 2, 0.95), (8, 10, 0.9), (14, 24, 0.8))
    ]
    labels, found = only(*boxes)
    lengths = [piece.long_axis_mm for piece in found]
    assert lengths == pytest.approx([np.hypot(n, n) for n in (4, 8, 14)])
    kept, fits, others = filter_by_size(labels, found, 11.0)
    assert [piece.long_axis_mm for piece in fits] == lengths[1:2]
    assert [piece.label for piece in fits] == [1]
    assert others == (found[0], found[2])
    np.testing.assert_array_equal(kept, labels == 2)


@pytest.mark.parametrize(
    ("asked_mm", "fits"),
    [(5.6, True), (2.7, True), (2.5, False), (8.6, True), (8.8, False), (20.0, False)],
)
def test_a_small_piece_may_differ_by_three_millimetres_from_the_asked_size(asked_mm, fits):
    labels, found = only(((slice(1, 4), slice(2, 6), slice(2, 6)), 0.9))  # 5.66 mm
    assert bool(filter_by_size(labels, found, asked_mm)[1]) is fits


@pytest.mark.parametrize(("asked_mm", "fits"), [(15.5, True), (15.0, False), (28.0, True), (29.0, False)])
def test_a_large_piece_may_differ_by_three_tenths_of_the_asked_size(asked_mm, fits):
    labels, found = only(((slice(1, 4), slice(2, 16), slice(2, 16)), 0.9))  # 19.8 mm
    assert bool(filter_by_size(labels, found, asked_mm)[1]) is fits
