"""The body is found in made-up patients whose skin, spine, table and field of view are known."""

from __future__ import annotations

import numpy as np
import pytest

from tips_med.body import Body, find_body, unknown_body

SPACING = (2.5, 2.0, 2.0)
SHAPE = (60, 150, 200)
MIDDLE = 100.0
"""The column of the patient's midline."""

Z, Y, X = np.indices(SHAPE)
ACROSS, DOWN = (X - MIDDLE) * 2.0, (Y - 75) * 2.0  # mm from the middle
SKIN = (ACROSS / 170) ** 2 + (DOWN / 110) ** 2 < 1
RIGHT_LUNG = ((ACROSS + 75) / 55) ** 2 + (DOWN / 80) ** 2 < 1
LEFT_LUNG = ((ACROSS - 75) / 55) ** 2 + (DOWN / 80) ** 2 < 1


def patient() -> np.ndarray:
    """A trunk with two lungs, a spine that is a little off and a ring of ribs."""
    hu = np.where(SKIN, 30.0, -1000.0)
    hu[RIGHT_LUNG | LEFT_LUNG] = -850
    spine = (ACROSS / 22) ** 2 + ((DOWN - 60) / 20) ** 2 < 1
    hu[spine] = 250
    ribs = SKIN & ~((ACROSS / 150) ** 2 + (DOWN / 95) ** 2 < 1) & ((ACROSS / 158) ** 2 + (DOWN / 101) ** 2 < 1)
    hu[ribs & (Z % 8 < 3)] = 400
    return hu.astype(np.float32)


def with_couch(hu: np.ndarray) -> np.ndarray:
    """On a carbon-fibre couch with a foam core, under a blanket."""
    made = hu.copy()
    for row, value in ((132, -200), (133, -930), (146, -200)):
        made[:, row : row + (13 if value == -930 else 1), 20:180] = np.where(
            made[:, row : row + (13 if value == -930 else 1), 20:180] < -500, value, 0
        )
    blanket = (Y > 10) & (Y < 13) & ~SKIN
    made[blanket] = -600
    return made


def found(hu: np.ndarray, seen: np.ndarray | None = None) -> Body:
    return find_body(hu, np.ones(hu.shape, bool) if seen is None else seen, SPACING)


def test_skin_and_lungs_are_inside_and_the_room_is_not():
    body = found(patient())
    assert body.inside[SKIN].mean() > 0.97
    assert body.inside[RIGHT_LUNG | LEFT_LUNG].all()
    assert body.inside[~SKIN].mean() < 0.06, "nothing but the rim of the skin"


def test_a_couch_and_a_blanket_are_no_body_nor_is_the_air_in_them():
    body = found(with_couch(patient()))
    assert body.inside[:, 140:].sum() == 0
    assert body.inside[RIGHT_LUNG | LEFT_LUNG].all()


def test_the_midline_goes_through_the_spine():
    body = found(patient())
    assert body.midline.source == "spine"
    np.testing.assert_allclose(body.midline.x_mm, MIDDLE * 2, atol=6)
    assert body.midline.back_mm == pytest.approx(2 * 75 + 60, abs=12)
    np.testing.assert_allclose(body.middle_mm, (150, 200), atol=8)


@pytest.mark.parametrize(("columns", "cut"), [(slice(92, 200), "right"), (slice(0, 108), "left")])
def test_the_middle_stays_where_it_is_when_half_the_field_of_view_is_cut_off(columns, cut):
    """The centroid of what is left would lie in the middle of one lung, and left would be taken for right."""
    body = found(patient()[:, :, columns])
    assert body.cut[cut].all()
    assert not body.cut["left" if cut == "right" else "right"].any()
    assert body.middle_mm[1] + 2 * columns.start == pytest.approx(200, abs=20)
    assert body.midline.known
    lung = (RIGHT_LUNG if cut == "left" else LEFT_LUNG)[:, :, columns]
    assert body.inside[lung].mean() > 0.99, "a lung that the edge touches is still inside"


def test_without_a_spine_the_skin_of_one_side_tells_the_other():
    body = found(patient()[:, :, 125:])  # the left lung alone
    assert body.midline.source == "skin"
    np.testing.assert_allclose(body.midline.x_mm + 250, 200, atol=body.midline.within_mm)


def test_a_window_inside_the_body_tells_nothing_and_says_so():
    body = found(patient()[:, 20:75, 125:170])
    assert body.midline.source == "none"
    assert not body.midline.known
    assert np.isnan(body.midline.x_mm).all()


def test_missing_slabs_do_not_end_the_body():
    seen = np.ones(SHAPE, bool)
    seen[20:30] = False
    seen[::3] = False
    hu = np.where(seen, patient(), np.nan)
    body = found(hu, seen)
    measured = seen.any(axis=(1, 2))
    assert body.inside[measured][(RIGHT_LUNG | LEFT_LUNG)[measured]].all()
    assert not body.inside[~measured].any(), "what was not measured is nowhere"
    assert body.midline.source == "spine"


def test_places_are_in_the_frame_of_the_origin_and_a_crop_leaves_them():
    here = found(patient())
    there = find_body(patient(), np.ones(SHAPE, bool), SPACING, (-50.0, 1000.0))
    np.testing.assert_allclose(there.midline.x_mm, here.midline.x_mm + 1000)
    assert there.middle_mm == pytest.approx((here.middle_mm[0] - 50, here.middle_mm[1] + 1000))
    part = there.cropped(slice(10, 90), slice(20, 120))
    assert part.inside.shape == (60, 80, 100)
    assert part.middle_mm == there.middle_mm


@pytest.mark.parametrize("value", [0.0, -1000.0])
def test_water_and_air_have_no_midline_to_be_wrong_about(value):
    body = found(np.full((20, 60, 60), value, np.float32))
    assert body.midline.source == "none"
    assert np.isfinite(body.middle_mm).all()


def test_a_scan_without_hounsfield_units_is_taken_whole():
    seen = np.ones((4, 6, 8), bool)
    seen[0] = False
    body = unknown_body(seen, SPACING, (0.0, 0.0))
    np.testing.assert_array_equal(body.inside, seen)
    assert not body.midline.known
    assert body.middle_mm == (5.0, 7.0)
