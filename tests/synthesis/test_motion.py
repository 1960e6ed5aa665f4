from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, placed_scan, value_at
from tips_med.geometry import transform_points
from tips_med.synthesis.findings import Canvas
from tips_med.synthesis.growth import paint_lesion
from tips_med.synthesis.motion import Motion, move, sample_motion


@pytest.mark.parametrize("name", list(ORIENTATIONS))
def test_a_moved_scan_shows_at_x_what_the_scan_shows_at_its_transform(name, any_scan):
    motion = sample_motion(
        any_scan, Motion(shift_mm=3.0, turn_degrees=4.0, bend_mm=1.0, breath_mm=2.0), np.random.default_rng(2)
    )
    target = placed_scan(ORIENTATIONS[name])
    moved = move(any_scan.voxels, any_scan.lps_from_kji, motion, target.lps_from_kji, target.shape)
    centres = transform_points(target.lps_from_kji, np.argwhere(np.ones(target.shape, bool)))
    there = np.array([motion.TransformPoint(centre.tolist()) for centre in centres])
    index = transform_points(np.linalg.inv(any_scan.lps_from_kji), there)
    # Beyond the outermost centres ITK repeats the value of the rim, to half a voxel; then nothing is known.
    size = np.array(any_scan.shape)
    within = ((index >= 0.5) & (index <= size - 1.5)).all(axis=1)
    beyond = ((index < -1.5) | (index > size + 0.5)).any(axis=1)
    assert within.sum() > 500
    np.testing.assert_allclose(moved.ravel()[within], value_at(there[within]), atol=0.2)
    assert np.isnan(moved.ravel()[beyond]).all()


def test_a_lesion_that_grows_keeps_its_place_and_shape():
    masks = []
    for diameter in (12.0, 24.0):
        canvas = Canvas(
            np.full((40, 60, 60), -850, np.float32),
            np.ones((40, 60, 60), np.uint8),
            (1.5, 1.0, 1.0),
            np.random.default_rng(0),
            np.zeros((40, 60, 60), bool),
        )
        masks.append(paint_lesion(canvas, np.array([20, 30, 30]), diameter))
        assert canvas.volume_hu[20, 30, 30] == pytest.approx(40.0)
    small, large = masks
    assert (small & large).sum() > 0.97 * small.sum()
    assert large.sum() / small.sum() == pytest.approx(8.0, rel=0.25)
