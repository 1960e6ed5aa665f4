"""What of a chest was seen, on a made-up chest whose lungs are boxes of known place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tips_med.body import Body, Midline
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.coverage import MIN_ASSESSED_FRACTION, requested_places, search_region
from tips_med.grounding.thorax import Thorax, anatomical_label, find_thorax
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")
SHAPE = (60, 60, 100)
AFFINE = np.diag([2.5, 2.0, 2.0, 1.0])[:, [2, 1, 0, 3]]
SPAN = slice(10, 50)


def lung_maps() -> tuple[np.ndarray, np.ndarray]:
    right, left = np.full(SHAPE, 0.02, np.float32), np.full(SHAPE, 0.02, np.float32)
    right[SPAN, 10:50, 10:40], left[SPAN, 10:50, 60:90] = 0.98, 0.98
    return right, left


def body(x_mm: float = 100.0, within_mm: float = 12.0, source: str = "spine", cut: str = "") -> Body:
    midline = Midline(np.full(SHAPE[0], x_mm), 90.0, within_mm, source)  # pyright: ignore[reportArgumentType]
    edges = {edge: np.full(SHAPE[0], edge == cut) for edge in ("right", "left", "front", "back")}
    return Body(np.ones(SHAPE, bool), midline, edges, (60.0, x_mm))  # pyright: ignore[reportArgumentType]


def chest(seen: np.ndarray | None = None, slabs: slice = slice(None), of: Body | None = None, maps=None) -> Thorax:
    right, left = maps or lung_maps()
    seen = np.ones(SHAPE, bool) if seen is None else seen
    right, left = (np.where(seen, one, np.nan) for one in (right, left))
    whole = of or body()
    part = replace(
        whole,
        inside=whole.inside[slabs],
        midline=replace(whole.midline, x_mm=whole.midline.x_mm[slabs]),
        cut={edge: rows[slabs] for edge, rows in whole.cut.items()},
    )
    return find_thorax(right[slabs], left[slabs], AFFINE, part, seen[slabs])


def asked(thorax: Thorax, query: str, of: Body | None = None):
    parsed = LEXICON.parse(query)
    labels = {"left": (LEFT,), "right": (RIGHT,)}.get(parsed.side or "", (RIGHT, LEFT))
    return search_region(thorax, of or body(), labels, requested_places(parsed), outline=parsed.finding is None)


def test_a_whole_chest_was_assessed_whole():
    thorax = chest()
    assert thorax.sides_known
    region = asked(thorax, "mass")
    assert region.coverage.whole
    assert region.coverage.assessed_fraction > 0.99
    assert region.coverage.reasons == ()
    assert anatomical_label(thorax, (12, 30, 75)) == ("left", "lower third of the left lung")


def test_a_side_that_the_field_of_view_leaves_out_is_not_assessed():
    right, left = lung_maps()
    whole = body(cut="right")
    thorax = chest(maps=(np.zeros_like(right), left), of=whole)
    region = asked(thorax, "mass in the right lung", whole)
    assert not region.coverage.whole
    assert region.coverage.reasons == ("outside-field-of-view",)
    assert not region.mask.any()
    assert asked(thorax, "mass in the left lung", whole).coverage.whole
    assert asked(thorax, "mass", whole).coverage.assessed_fraction == pytest.approx(0.5)


def test_a_side_without_air_that_the_scan_does_show_is_not_called_assessed():
    right, left = lung_maps()
    thorax = chest(maps=(np.zeros_like(right), left))
    region = asked(thorax, "right pleural effusion")
    assert not region.coverage.whole
    assert region.coverage.reasons == ("not-aerated",)


@pytest.mark.parametrize("every", [2, 3])
def test_missing_slices_are_a_gap(every):
    seen = np.ones(SHAPE, bool)
    seen[::every] = False
    coverage = asked(chest(seen), "mass").coverage
    assert not coverage.whole
    assert coverage.reasons == ("gap",)
    assert coverage.assessed_fraction == pytest.approx(1 - 1 / every, abs=0.08)


def test_a_scan_that_ends_within_the_lungs_names_no_third_and_excludes_nothing():
    thorax = chest(slabs=slice(0, 30))
    assert anatomical_label(thorax, (25, 30, 75)) == ("left", "left lung")
    coverage = asked(thorax, "mass in the left apex").coverage
    assert not coverage.height_known
    assert not coverage.whole
    assert "height-unknown" in coverage.reasons


def test_a_lung_that_is_cut_off_has_the_heights_of_the_other_one():
    right, left = lung_maps()
    left[:25] = 0.02  # a high diaphragm, and then
    seen = np.ones(SHAPE, bool)
    seen[:26, :, 50:] = False  # what lies below was not seen on this side
    thorax = chest(seen, maps=(right, left))
    assert np.isfinite(thorax.height[0]).any()
    assert anatomical_label(thorax, (45, 30, 75))[1] == "upper third of the left lung"


def test_an_edge_that_runs_along_a_lung_hides_a_part_of_it():
    seen = np.ones(SHAPE, bool)
    seen[:, :, 88:] = False
    part = chest(seen).parts[LEFT - 1]
    assert part.cut
    assert part.assessed_fraction < MIN_ASSESSED_FRACTION
    assert chest(seen).parts[RIGHT - 1].assessed_fraction > 0.99


@pytest.mark.parametrize("of", [body(x_mm=20.0), body(x_mm=180.0), body(source="none", within_mm=np.inf)])
def test_sides_that_the_midline_does_not_bear_out_are_not_known(of):
    thorax = chest(of=of)
    assert not thorax.sides_known
    region = asked(thorax, "mass in the left lung", of)
    assert "side-unknown" in region.coverage.reasons
    assert not region.coverage.side_known
    assert region.mask[30, 30, 20], "either lung may be the left one: both are searched"
    anywhere = asked(thorax, "mass", of).coverage
    assert anywhere.side_known, "nobody asked for a side"
    assert not anywhere.whole, "who cannot tell sides cannot tell that both are there"
    assert anatomical_label(thorax, (30, 30, 75))[0] is None


def test_several_places_are_united():
    thorax = chest()
    both = asked(thorax, "mass in the middle and lower thirds of the left lung").mask
    one, other = (asked(thorax, f"mass in the {third} third of the left lung").mask for third in ("middle", "lower"))
    np.testing.assert_array_equal(both, one | other)
    assert one.any()
    assert other.any()


def test_a_part_of_a_region_is_within_it():
    thorax = chest()
    whole = asked(thorax, "mass").mask
    for query in ("mass in the left lung", "mass in the right apex", "mass left base", "mass in the left upper lobe"):
        part = asked(thorax, query).mask
        assert part.any()
        assert not (part & ~whole).any()


def test_a_scan_without_lungs_cannot_be_judged():
    nothing = np.zeros(SHAPE, np.float32)
    coverage = asked(chest(maps=(nothing, nothing)), "mass").coverage
    assert coverage.reasons == ("no-lung-seen",)
    assert not coverage.whole


def test_a_half_that_the_field_of_view_is_too_narrow_for_was_not_seen_whole():
    """The network may call a part of the left lung right; how wide the field of view is does not depend on it."""
    seen = np.ones(SHAPE, bool)
    seen[:, :, :38] = False  # 12 columns are left of the right half, 50 of the left one
    of = body(cut="right")
    right, left = lung_maps()
    right[SPAN, 10:50, 42:50] = 0.98
    thorax = chest(seen, of=of, maps=(right, left))
    assert thorax.parts[RIGHT - 1].assessed_fraction < 0.4
    assert thorax.parts[LEFT - 1].assessed_fraction > 0.99
    assert not asked(thorax, "right pleural effusion", of).coverage.whole


@pytest.mark.parametrize(
    ("index", "place"),
    [
        ((30, 55, 75), ("left", "middle third of the left lung")),  # 12 mm behind it
        ((30, 55, 25), ("right", "middle third of the right lung")),
        ((0, 0, 75), (None, "outside the lungs")),  # 28 mm from its nearest corner
        ((0, 0, 25), (None, "outside the lungs")),
    ],
)
def test_what_lies_within_reach_of_a_lung_belongs_to_it_and_what_lies_beyond_does_not(index, place):
    thorax = chest()
    assert anatomical_label(thorax, index) == place
    assert asked(thorax, "mass").mask[index] == (place[0] is not None)


def test_the_height_asked_is_the_height_searched():
    """The lungs reach from slab 10 to slab 49; thirds meet where two of three slabs have been counted."""
    thorax = chest()
    for query, first, last in [
        ("mass in the left upper third", 37, 49),
        ("mass in the left middle third", 23, 36),
        ("mass in the left lower third", 10, 22),
        ("mass in the left apex", 42, 49),
    ]:
        where = asked(thorax, query).mask
        slabs = np.flatnonzero(where[:, 30, 75])
        assert (slabs[0], slabs[-1]) == (first, last), query
        assert not where[:, :, :45].any(), "nothing of the other side"


@pytest.mark.parametrize(
    ("query", "fraction"),
    [
        ("mass in the right base", 0.7),
        ("mass in the right apex", 0.0),
        ("mass in the right upper lobe", (0.7125 - 0.35) / 0.65),
        ("mass in the right lung", 0.7),
    ],
)
def test_a_lung_that_ends_early_lacks_the_heights_of_its_end(query, fraction):
    """Of the right lung the lower 28 of 40 slabs are shown, 0.7 of it."""
    whole = chest()
    height = whole.height.copy()
    height[0, 38:] = np.nan
    part = replace(whole.parts[0], cut=True, assessed_fraction=0.7)
    coverage = asked(replace(whole, height=height, parts=(part, whole.parts[1])), query).coverage
    assert coverage.assessed_fraction == pytest.approx(fraction)
    assert coverage.reasons == ("outside-field-of-view",)
    assert not coverage.whole


def test_a_side_that_is_not_aerated_counts_for_a_half_at_most():
    right, left = lung_maps()
    right[:, :, 10:33] = 0.02
    coverage = asked(chest(maps=(right, left)), "mass in the right lung").coverage
    assert coverage.assessed_fraction == 0.5
    assert coverage.reasons == ("not-aerated",)
    both = asked(chest(maps=(right, left)), "mass").coverage
    assert both.assessed_fraction == pytest.approx(0.75)
    assert not both.whole


def test_whole_means_nine_tenths_of_each_side():
    seen = np.ones(SHAPE, bool)
    seen[20:24] = False  # 4 of 40 slabs
    coverage = asked(chest(seen), "mass").coverage
    assert (coverage.whole, coverage.assessed_fraction) == (True, pytest.approx(0.9))
    seen[24] = False
    assert not asked(chest(seen), "mass").coverage.whole


def test_where_sides_are_not_known_it_is_said_once_and_what_is_missing_was_cut_off():
    right, left = lung_maps()
    of = body(source="none", within_mm=np.inf)
    coverage = asked(chest(maps=(np.zeros_like(right), left), of=of), "mass in the right lung", of).coverage
    assert coverage.reasons == ("outside-field-of-view", "side-unknown")


def test_a_scan_without_lungs_is_searched_all_over():
    nothing = np.zeros(SHAPE, np.float32)
    region = asked(chest(maps=(nothing, nothing)), "mass in the left lung")
    assert region.mask.all()
    assert region.coverage.assessed_fraction == 0.0
    assert not region.coverage.height_known


def test_a_side_is_cut_off_where_the_field_of_view_cuts_the_slabs_that_hold_the_body():
    """Twelve slabs hold the body, and an edge cuts every one of them; the room around it is cut by nothing."""
    right, left = lung_maps()
    of = body()
    of.inside[:20], of.inside[32:] = False, False
    of.cut["right"][20:32] = True
    thorax = chest(maps=(np.zeros_like(right), left), of=of)
    assert "outside-field-of-view" in asked(thorax, "mass in the right lung", of).coverage.reasons
