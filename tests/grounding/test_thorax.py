"""What a chest is made of: sides, heights, and how much of each side was seen, on lungs that are boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grounding.test_coverage import AFFINE, SHAPE, SPAN, body, chest, lung_maps
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.thorax import anatomical_label, find_thorax

ML = 2.5 * 2.0 * 2.0 / 1000
BOX_ML = 40 * 40 * 30 * ML


def test_lungs_are_labelled_and_measured():
    thorax = chest()
    right, left = lung_maps()
    np.testing.assert_array_equal(thorax.lungs == RIGHT, right > 0.5)
    np.testing.assert_array_equal(thorax.lungs == LEFT, left > 0.5)
    for part in thorax.parts:
        assert part.volume_ml == pytest.approx(BOX_ML)
        assert (part.cut, part.gap, part.aerated) == (False, False, True)
        assert part.assessed_fraction == 1.0
    assert thorax.seen


def test_height_rises_from_the_lowest_to_the_highest_slab_and_is_known_nowhere_else():
    thorax = chest()
    share = (np.arange(40) + 0.5) / 40
    for height in thorax.height:
        np.testing.assert_allclose(height[SPAN], share)
        assert np.isnan(np.delete(height, np.arange(10, 50))).all()
    assert [anatomical_label(thorax, (k, 30, 75))[1].split()[0] for k in (10, 22, 24, 36, 37, 49)] == [
        *("lower", "lower", "middle", "middle", "upper", "upper")
    ]


def test_every_place_belongs_to_the_nearest_side():
    thorax = chest()
    assert (thorax.side[30, 30, 42:49] == RIGHT).all()
    assert (thorax.side[30, 30, 51:58] == LEFT).all()
    assert (thorax.side[30, 55, 15], thorax.side[30, 5, 85]) == (RIGHT, LEFT)
    outside = body()
    outside.inside[:, 52:] = False
    assert chest(of=outside).side[30, 55, 15] == 0, "nothing lies outside the body"


def test_of_two_maps_the_surer_one_names_the_side():
    right, left = lung_maps()
    right[SPAN, 10:50, 60:90] = 0.6
    left[SPAN, 10:50, 10:40] = 0.99
    thorax = chest(maps=(right, left))
    assert set(np.unique(thorax.lungs[SPAN, 10:50, 60:90])) == {LEFT}
    assert set(np.unique(thorax.lungs[SPAN, 10:50, 10:40])) == {LEFT}


def test_specks_are_no_lung_and_holes_in_a_lung_are_filled():
    right, left = lung_maps()
    right[30, 30:34, 20:24] = 0.1  # a vessel
    right[20:24, 52:58, 20:24] = 0.9  # a speck of 1 ml
    thorax = chest(maps=(right, left))
    assert (thorax.lungs[30, 30:34, 20:24] == RIGHT).all()
    assert not thorax.lungs[20:24, 52:58, 20:24].any()


@pytest.mark.parametrize(("width", "aerated"), [(12, True), (10, False)])
def test_a_side_much_smaller_than_the_other_is_not_aerated(width, aerated):
    """A third of the other side is too little, four tenths are enough."""
    right, left = lung_maps()
    right[:, :, 10 : 40 - width] = 0.02
    thorax = chest(maps=(right, left))
    assert [part.aerated for part in thorax.parts] == [aerated, True]


@pytest.mark.parametrize(("columns", "seen"), [(3, True), (1, False)])
def test_a_chest_needs_more_than_thirty_millilitres_of_lung(columns, seen):
    right, left = lung_maps()
    right[:], left[:] = 0.02, 0.02
    right[SPAN, 10:50, 38 - columns : 38] = 0.98
    thorax = chest(maps=(right, left))
    assert thorax.parts[0].volume_ml == pytest.approx(40 * 40 * columns * ML if columns > 0 else 0)
    assert thorax.seen is seen


def test_what_is_no_lung_and_lies_in_the_hemithorax_belongs_to_the_chest():
    """Fluid below the right lung: no lung, but a part of the right side, its heights too."""
    right, left = lung_maps()
    cavities = right.copy(), left.copy()
    right[10:20] = 0.02
    seen = np.ones(SHAPE, bool)
    thorax = find_thorax(right, left, AFFINE, body(), seen, cavities)
    assert not thorax.lungs[10:20, 10:50, 10:40].any()
    assert (thorax.side[10:20, 10:50, 10:40] == RIGHT).all()
    assert thorax.parts[0].volume_ml == pytest.approx(BOX_ML)
    assert thorax.height[0, 10] == pytest.approx(0.5 / 40)


@pytest.mark.parametrize(
    ("slabs", "cut", "fraction"),
    [
        (slice(0, 49), True, 0.5),
        (slice(0, 50), True, 0.5),
        (slice(0, 51), False, 1.0),
        (slice(9, 60), False, 1.0),
        (slice(10, 60), True, 0.5),
    ],
)
def test_a_lung_that_goes_on_beyond_the_first_or_last_slab_is_cut(slabs, cut, fraction):
    for part in chest(slabs=slabs).parts:
        assert part.cut is cut
        assert part.assessed_fraction == pytest.approx(fraction)


def test_a_lung_that_tapers_to_its_end_is_whole():
    right, left = lung_maps()
    for one, first in ((right, 10), (left, 60)):
        one[49] = 0.02
        one[49, 28:32, first : first + 15] = 0.98  # a twentieth of the largest slab
    assert not any(part.cut for part in chest(slabs=slice(0, 50), maps=(right, left)).parts)


def test_missing_slabs_within_a_lung_are_a_gap_and_those_beyond_it_are_none():
    seen = np.ones(SHAPE, bool)
    seen[20:30] = False
    for part in chest(seen).parts:
        assert part.gap
        assert part.assessed_fraction == pytest.approx(30 / 40)
        assert part.volume_ml == pytest.approx(BOX_ML * 30 / 40)
    seen[:] = True
    seen[:5] = False
    assert not any(part.gap for part in chest(seen).parts)


def test_an_edge_along_a_lung_is_taken_to_hide_a_strip_of_30_mm():
    """The lung is 75 mm wide; 70 mm of it were seen, and a strip beyond is taken to be lost."""
    seen = np.ones(SHAPE, bool)
    seen[:, :, 88:] = False
    left = chest(seen).parts[LEFT - 1]
    assert left.assessed_fraction == pytest.approx(70 / (70 + 30))
    seen[:] = True
    seen[:, :, :12] = False
    right = chest(seen).parts[RIGHT - 1]
    assert right.assessed_fraction == pytest.approx(70 / (70 + 30))
    seen[:] = True
    seen[:, 46:] = False  # 72 of 80 mm from front to back
    for part in chest(seen).parts:
        assert part.assessed_fraction == pytest.approx(72 / (72 + 30))


def test_where_both_lungs_are_cut_no_height_is_known():
    assert np.isnan(chest(slabs=slice(0, 30)).height).all()


@pytest.mark.parametrize(("columns", "known"), [(2, True), (8, False)])
def test_sides_are_known_where_nearly_all_of_each_lung_lies_on_its_own_side(columns, known):
    """The midline may be off by 12 mm; of 30 columns beyond it two are few, eight too many."""
    of = body(x_mm=2.5 * 60 + 12 + 2.5 * columns - 1)
    assert chest(of=of).sides_known is known
    of = body(x_mm=2.5 * 39 - 12 - 2.5 * columns + 1)
    assert chest(of=of).sides_known is known


def test_mirrored_maps_do_not_agree_with_the_midline():
    right, left = lung_maps()
    assert not chest(maps=(left, right)).sides_known


@pytest.mark.parametrize(("first", "share"), [(18, 1.0), (20, 80 / 117.5)])
def test_a_half_that_is_much_narrower_than_the_other_was_not_seen_whole(first, share):
    """The midline is at 130 mm, the last column at 247.5 mm, and the field of view begins at 45 or 50 mm."""
    seen = np.ones(SHAPE, bool)
    seen[:, :, :first] = False
    right, left = lung_maps()
    right[:, :, : first + 1] = 0.02
    of = body(x_mm=130.0, cut="right")
    right_part = chest(seen, of=of, maps=(right, left)).parts[0]
    assert right_part.assessed_fraction == pytest.approx(share)
    assert right_part.cut is (share < 1)
    uncut = chest(seen, of=body(x_mm=130.0), maps=(right, left)).parts[0]
    assert not uncut.cut, "an arm's breadth of air is no edge"


def test_one_lung_that_is_whole_has_heights_without_the_other_one():
    right, left = lung_maps()
    for maps, absent in (((np.zeros_like(right), left), 0), ((right, np.zeros_like(left)), 1)):
        height = chest(maps=maps).height
        assert np.isnan(height[absent]).all()
        assert np.isfinite(height[1 - absent, SPAN]).all()
