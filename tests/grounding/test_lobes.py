"""Lobes by mean fissures, on lungs that are boxes, and what is done where a lung is not shown whole."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.grounding.test_coverage import AFFINE, SHAPE, SPAN, asked, body, chest, lung_maps
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.lobes import (
    FILE,
    LOBES_OF_LUNG,
    beyond_mm,
    depth_in_lobe_mm,
    frame_of_side,
    lobes_of_cells,
    mean_fissures,
)
from tips_med.grounding.thorax import find_thorax


def test_the_file_names_its_source():
    raw = json.loads(FILE.read_text("utf-8"))
    assert "LIDC-IDRI" in raw["source"]
    assert "CC BY 3.0" in raw["source"]


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_the_lobes_of_a_lung_are_all_of_it_and_none_of_each_other(side):
    thorax = chest()
    frame = frame_of_side(thorax, side)
    assert frame is not None
    inside = np.stack([depth_in_lobe_mm(frame, lobe) > 0 for lobe in LOBES_OF_LUNG[side]])
    own = thorax.lungs == side
    np.testing.assert_array_equal(inside[:, own].sum(axis=0), 1)
    assert (inside[:, own].mean(axis=1) > 0.1).all(), "each of them is there"


def test_outlines_of_lobes_add_up_to_the_lung_and_the_lingula_is_a_part_of_the_upper_lobe():
    thorax = chest()
    for name, lobes in (("right", ("upper", "middle", "lower")), ("left", ("upper", "lower"))):
        parts = [asked(thorax, f"{name} {lobe} lobe").mask for lobe in lobes]
        whole = asked(thorax, f"{name} lung").mask
        within = np.isfinite(thorax.height[0])[:, None, None]
        np.testing.assert_array_equal(np.sum(parts, axis=0), (whole & within).astype(int))
    lingula, upper = asked(thorax, "lingula").mask, asked(thorax, "left upper lobe").mask
    assert lingula.any()
    assert not (lingula & ~upper).any()
    assert np.argwhere(lingula)[:, 0].mean() < np.argwhere(upper)[:, 0].mean(), "it is the lower part of it"
    assert np.argwhere(lingula)[:, 1].mean() < np.argwhere(upper)[:, 1].mean(), "and lies in front"


def test_fissures_are_oblique():
    """At the height of the hilum the front of a left lung is upper lobe and its back is lower lobe."""
    thorax = chest()
    upper, lower = asked(thorax, "left upper lobe").mask, asked(thorax, "left lower lobe").mask
    assert upper[30, 12, 75]
    assert lower[30, 47, 75]
    assert asked(thorax, "middle lobe").mask[22, 12, 25]
    assert asked(thorax, "right upper lobe").mask[45, 20, 25]


def test_a_mirrored_patient_has_its_lobes_on_the_other_side():
    """Box for box: a lung that is mirrored has the coordinates that it had, and the lobes of its new side."""
    right, left = (one[:, :, ::-1] for one in lung_maps())
    mirrored = chest(maps=(left, right), of=body(x_mm=2.0 * 99 - 100.0))
    for side, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
        here, there = frame_of_side(chest(), side), frame_of_side(mirrored, other)
        assert here is not None
        assert there is not None
        np.testing.assert_allclose(here.along[2], there.along[2][::-1], atol=1e-9)
        np.testing.assert_allclose(here.per_mm, there.per_mm)
        assert (here.label, there.label) == (side, other)
    middle = asked(mirrored, "middle lobe").mask
    np.testing.assert_array_equal(np.flatnonzero(middle.any(axis=(0, 1))) < 50, True)
    for side, away in ((RIGHT, 10), (LEFT, 89)):
        frame = frame_of_side(chest(), side)
        assert frame is not None
        assert frame.along[2][away] > 0.95, "lateral is away from the middle"


@pytest.mark.parametrize("step", [(2.5, 2.0, 2.0), (5.0, 2.0, 1.0)])
def test_depth_is_in_millimetres_on_any_grid(step):
    """From cell to cell it changes as fast as a distance does, and no faster."""
    thorax = replace(chest(), step_mm=step)
    frame = frame_of_side(thorax, LEFT)
    assert frame is not None
    depth = beyond_mm(mean_fissures().oblique[LEFT], frame)[15:45, 15:45, 65:85]
    slopes = [np.diff(depth, axis=axis).mean() / mm for axis, mm in enumerate(step)]
    assert np.linalg.norm(slopes) == pytest.approx(1, abs=1e-3)


def test_a_finding_is_searched_with_a_margin_and_a_lobe_is_outlined_without():
    thorax = chest()
    outline, searched = asked(thorax, "left lower lobe").mask, asked(thorax, "mass in the left lower lobe").mask
    assert not (outline & ~searched).any()
    frame = frame_of_side(thorax, LEFT)
    assert frame is not None
    depth = depth_in_lobe_mm(frame, "lower")
    added = searched & ~outline
    assert depth[added].min() >= -mean_fissures().margin_mm
    assert depth[added].max() < 0
    upper = asked(thorax, "mass in the left upper lobe").mask
    assert (searched & upper).any(), "near the fissure a finding is searched in both"


@pytest.mark.parametrize(
    "thorax",
    [
        chest(slabs=slice(0, 50)),
        chest(np.arange(SHAPE[2])[None, None] < 88 * np.ones(SHAPE, int)),
        chest(of=body(x_mm=20.0)),
    ],
    ids=["ends within", "cut at its side", "sides unknown"],
)
def test_a_lung_that_is_not_shown_whole_has_its_lobes_by_height_or_none(thorax):
    assert frame_of_side(thorax, LEFT) is None
    region = asked(thorax, "mass in the left lower lobe", body(x_mm=100.0))
    assert region.notes == ("height-by-estimate",)


def test_by_height_a_lobe_is_as_wide_as_its_fissures_are_steep():
    whole = chest()
    cut = replace(whole, parts=(whole.parts[0], replace(whole.parts[1], cut=True)))
    for query, first, last in [("mass in the left upper lobe", 24, 49), ("mass in the left lower lobe", 10, 37)]:
        region = asked(cut, query)
        slabs = np.flatnonzero(region.mask[:, 30, 75])
        assert (slabs[0], slabs[-1]) == (first, last), query
        assert region.notes == ("height-by-estimate",)
    either = asked(cut, "mass in the upper lobe")
    assert set(either.notes) == {"height-by-estimate", "lobe-by-estimate"}, "one lung is whole, the other is not"


def test_a_lung_that_fills_little_of_its_side_tells_nothing_of_its_lobes():
    right, left = lung_maps()
    cavities = right.copy(), left.copy()
    left[SPAN, 10:35] = 0.02  # fluid behind it
    thorax = find_thorax(right, left, AFFINE, body(), np.ones(SHAPE, bool), cavities)
    assert frame_of_side(thorax, LEFT) is None
    assert frame_of_side(thorax, RIGHT) is not None


def test_without_a_lobe_nothing_is_estimated():
    thorax = chest()
    for query in ("mass", "mass in the left lung", "mass in the left upper third", "right lung"):
        assert asked(thorax, query).notes == ()


def test_one_lobe_is_named_far_from_fissures_and_several_near_one():
    thorax, margin = chest(), mean_fissures().margin_mm
    for side, word in ((RIGHT, "right"), (LEFT, "left")):
        frame = frame_of_side(thorax, side)
        assert frame is not None
        cells = np.argwhere(thorax.lungs == side)[::37]
        depth = {lobe: depth_in_lobe_mm(frame, lobe, cells=cells) for lobe in LOBES_OF_LUNG[side]}
        counts = set()
        for n, cell in enumerate(cells):
            named = lobes_of_cells(cell[None], thorax)
            assert named == tuple(f"{word} {lobe} lobe" for lobe, mm in depth.items() if mm[n] >= -margin)
            counts.add(len(named))
        assert {1, 2} <= counts


def test_cells_have_the_depth_that_the_grid_has_there():
    thorax = chest()
    frame = frame_of_side(thorax, RIGHT)
    assert frame is not None
    cells = np.argwhere(thorax.lungs == RIGHT)[::51]
    for lobe in LOBES_OF_LUNG[RIGHT]:
        np.testing.assert_array_equal(
            depth_in_lobe_mm(frame, lobe, cells=cells), depth_in_lobe_mm(frame, lobe)[tuple(cells.T)]
        )


def test_a_finding_throughout_a_lung_has_all_of_its_lobes():
    """By its middle alone a pneumonia of a whole lung would be in one lobe."""
    thorax = chest()
    left = np.argwhere(thorax.lungs == LEFT)
    assert lobes_of_cells(left, thorax) == ("left upper lobe", "left lower lobe")
    both = np.argwhere(thorax.lungs > 0)
    assert lobes_of_cells(both, thorax)[0].startswith("right") and lobes_of_cells(both, thorax)[-1] == "left lower lobe"
    apex = left[left[:, 0] > 44]
    assert lobes_of_cells(apex, thorax) == ("left upper lobe",)
    crossing = np.concatenate([apex, np.argwhere(thorax.lungs == RIGHT)[: len(apex) // 10]])
    assert lobes_of_cells(crossing, thorax) == ("left upper lobe",), "a tenth of it on the other side is no matter"


def test_no_lobe_is_named_where_a_lung_is_not_shown_whole_or_where_there_is_none():
    cut = chest(slabs=slice(0, 50))
    assert lobes_of_cells(np.argwhere(cut.lungs == LEFT), cut) == ()
    turned = chest(of=body(x_mm=20.0))
    assert lobes_of_cells(np.argwhere(turned.lungs == LEFT), turned) == ()
    assert lobes_of_cells(np.argwhere(chest().side == 0)[:5], chest()) == ()
