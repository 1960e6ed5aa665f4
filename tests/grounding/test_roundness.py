from __future__ import annotations

import numpy as np
import pytest

from tips_med.grounding.roundness import roundness
from tips_med.scan import Scan

AFFINE = np.array([[0, 0, 0.8, -40], [0, 0.8, 0, -40], [2.0, 0, 0, -50], [0, 0, 0, 1]])
BALL, ROD, SLAB = np.array([-20.0, 0, 0]), np.array([20.0, 0, 0]), np.array([0.0, 30, 0])


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A ball of 8 mm, a vessel of 6 mm that runs obliquely, and the edge of the chest wall, in lung."""
    k, j, i = np.indices((50, 100, 100))
    place = np.stack([i * 0.8 - 40, j * 0.8 - 40, k * 2.0 - 50], axis=-1)
    voxels = np.full(k.shape, -850, np.float32)
    voxels[np.linalg.norm(place - BALL, axis=-1) <= 4] = 30
    along = np.array([0.0, 0.6, 0.8])
    from_rod = place - ROD
    voxels[np.linalg.norm(from_rod - (from_rod @ along)[..., None] * along, axis=-1) <= 3] = 30
    voxels[place[..., 1] > 30] = 30
    return Scan(voxels, AFFINE, "CT", "HU")


def test_a_ball_is_rounder_than_a_vessel_and_a_wall(scan):
    ball, beside, rod, wall, lung = roundness(scan, np.array([BALL, BALL + [3, 0, 0], ROD, SLAB, [0.0, 0, 20]]))
    assert ball > 4.5
    assert beside == pytest.approx(ball, abs=0.3)
    assert rod < ball - 1.5
    assert wall < ball - 1.5
    assert lung < 0.5


def test_what_was_not_measured_is_no_nodule(scan):
    voxels = scan.voxels.copy()
    voxels[:20] = np.nan
    (value,) = roundness(Scan(voxels, AFFINE, "CT", "HU"), np.array([[0.0, 0, -30]]))
    assert value < 0.5
    assert np.isfinite(roundness(scan, np.array([[-40.0, -40, -50], [500, 0, 0]]))).all()
    assert roundness(scan, np.zeros((0, 3))).shape == (0,)
