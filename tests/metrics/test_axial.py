from __future__ import annotations

import numpy as np
import pytest

from tips_med.metrics import AxialError, AxialRPrecision, axial_profile

PROFILE = np.array([0.1, 0.9, 0.3, 0.8, 0.2], np.float32)


def heat(profile=PROFILE) -> np.ndarray:
    """Each slice has its highest value at one of its cells."""
    made = np.full((len(profile), 3, 4), -1, np.float32)
    made[:, 1, 2] = profile
    return made


def true(*slices: int) -> np.ndarray:
    return np.isin(np.arange(len(PROFILE)), slices)


def test_the_profile_is_the_highest_value_of_every_slice_that_was_seen():
    some = heat()
    some[0] = np.nan
    some[3, 0, 0] = np.nan  # a part of a slice
    np.testing.assert_allclose(axial_profile(some), [np.nan, 0.9, 0.3, 0.8, 0.2])


@pytest.mark.parametrize(
    ("slices", "precision", "error"),
    [
        ((1,), 1.0, 0.0),
        ((1, 3), 1.0, 0.0),  # the two highest of five
        ((1, 2), 0.5, 0.0),  # the second highest is slice 3
        ((2, 4), 0.0, 2.5),  # the highest, 1, is one slice from 2
        ((4,), 0.0, 7.5),
    ],
)
def test_values_that_were_worked_out_by_hand(slices, precision, error):
    of_slices, in_mm = AxialRPrecision(), AxialError()
    of_slices.update(heat(), true(*slices))
    in_mm.update(heat(), true(*slices), 2.5)
    assert float(of_slices.compute()["axial_r_precision"]) == pytest.approx(precision)
    assert float(in_mm.compute()["axial_error_mm"]) == pytest.approx(error)


def test_a_constant_map_earns_only_chance():
    of_slices, in_mm = AxialRPrecision(), AxialError()
    of_slices.update(heat(np.zeros(5, np.float32)), true(0, 1))
    in_mm.update(heat(np.zeros(5, np.float32)), true(0), 1.0)
    assert float(of_slices.compute()["axial_r_precision"]) == pytest.approx(2 / 5)
    assert float(in_mm.compute()["axial_error_mm"]) == pytest.approx((0 + 1 + 2 + 3 + 4) / 5)


def test_what_was_not_seen_is_neither_highest_nor_true():
    some = heat()
    some[1] = np.nan
    metric = AxialRPrecision()
    metric.update(some, true(1, 3))  # of two true slices one was seen, and it is the highest that is left
    assert float(metric.compute()["axial_r_precision"]) == 1.0
    assert not AxialRPrecision().intervals()


def test_cases_without_a_true_slice_are_left_out():
    of_slices, in_mm = AxialRPrecision(), AxialError()
    of_slices.update(heat(), true())
    in_mm.update(heat(), true(), 1.0)
    in_mm.update(np.full((5, 2, 2), np.nan, np.float32), true(1), 1.0)
    assert of_slices.cases == in_mm.cases == 0


def test_intervals_are_drawn_over_patients():
    metric = AxialError()
    for n in range(5):
        metric.update(heat(), true(n), 1.0, patient=str(n))
    found = metric.intervals()["axial_error_mm"]
    assert found.value == pytest.approx((1 + 0 + 1 + 2 + 3) / 5)
    assert found.low < found.value < found.high
