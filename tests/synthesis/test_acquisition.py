from __future__ import annotations

import numpy as np
import pytest

from tests.synthesis.test_scene import SPACING, anatomy
from tips_med.synthesis.acquisition import (
    MILD,
    AcquisitionSpec,
    acquire,
    add_arms,
    add_motion,
    add_table,
    limit_view,
    thicken,
)

BODY = anatomy().volume_hu.astype(np.float32)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(3))
def test_without_options_a_scan_comes_out_as_it_always_has(seed):
    """The same chances are drawn in the same order, so that a recorded run can be run again."""
    plain = acquire(BODY, SPACING, rng(seed))
    np.testing.assert_array_equal(acquire(BODY, SPACING, rng(seed), 1.0, None), plain)
    assert acquire(BODY, SPACING, rng(seed), 1.0, MILD).shape == BODY.shape
    nothing_more = acquire(BODY, SPACING, rng(seed), 0.0)
    np.testing.assert_array_equal(nothing_more, np.maximum(BODY, -1024))


def test_a_slice_of_a_slabs_thickness_changes_nothing_and_a_thick_one_averages_its_neighbours():
    volume = np.zeros((9, 1, 1), np.float32)
    volume[4] = 100
    np.testing.assert_array_equal(thicken(volume, 2.5, 0.6), volume)
    np.testing.assert_allclose(thicken(volume, 2.5, 5.0)[2:7, 0, 0], [0, 25, 50, 25, 0], atol=1e-4)
    for thickness_mm in (3.0, 5.0, 7.5):
        assert thicken(volume, 2.5, thickness_mm).sum() == pytest.approx(100, abs=0.01)


def test_the_table_lies_behind_the_body_and_leaves_it_alone():
    made = add_table(BODY, SPACING, rng())
    changed = made != BODY
    assert changed.any()
    assert (BODY[changed] < -700).all()
    assert np.argwhere(changed)[:, 1].min() > 80, "the toy's back is at row 95, and the table may bend around it"


def test_arms_lie_beside_the_body_and_leave_it_alone():
    wide = np.pad(BODY, ((0, 0), (0, 0), (40, 40)), constant_values=-1000)
    made = add_arms(wide, SPACING, rng())
    changed = made != wide
    assert changed.any()
    assert not changed[:, :, 50:170].any()
    assert made[changed].max() > 500, "an arm has a bone"


def test_motion_doubles_edges_in_some_slabs_only():
    tall = np.repeat(BODY[:1], 80, axis=0)
    changed = np.abs(add_motion(tall, SPACING, rng()) - tall).mean(axis=(1, 2))
    assert changed.max() > 1
    assert changed.min() < 0.05 * changed.max()


@pytest.mark.parametrize("option", ["cut", "circle", "deep"])
def test_what_is_not_reconstructed_is_padding_and_is_told(option):
    noisy = acquire(BODY, SPACING, rng(3))
    made, unseen = limit_view(noisy, SPACING, rng(3), AcquisitionSpec(**{option: 1.0}))
    assert unseen.any()
    assert not unseen.all()
    padding = set(made[:, unseen].ravel().tolist())
    assert len(padding) == 1
    assert padding <= {-1024.0, -1000.0}
    np.testing.assert_array_equal(made[:, ~unseen], noisy[:, ~unseen])


def test_a_field_of_view_may_end_far_inside_the_body():
    body = (BODY > -300).any(axis=0)
    shown = [1 - limit_view(BODY, SPACING, rng(seed), AcquisitionSpec(deep=1.0))[1][body].mean() for seed in range(12)]
    assert min(shown) < 0.6
    assert max(shown) < 0.95


def test_the_same_seed_scans_the_same_with_every_option():
    everything = AcquisitionSpec(thick=1, cut=1, circle=1, table=1, arms=1, motion=1)
    first, again = (acquire(BODY, SPACING, rng(5), 1.0, everything) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
