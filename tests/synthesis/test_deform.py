from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.synthesis.test_scene import SPACING, anatomy
from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.deform import Deformation, sample_deformed_crop

STILL = Deformation(mirrored=0, turn_degrees=0, zoom=0, elastic_mm=0, breath=0, dependent=0)
SHAPE = (6, 96, 128)


def piece(seed: int, **changes: float):
    return sample_deformed_crop(anatomy(), SHAPE, dataclasses.replace(STILL, **changes), np.random.default_rng(seed))


def test_labels_go_where_the_voxels_go_however_the_body_bends():
    for seed in range(4):
        bent = piece(seed, mirrored=0.5, turn_degrees=8, zoom=0.16, elastic_mm=8)
        lung = bent.lungs > 0
        assert np.median(bent.volume_hu[lung]) == pytest.approx(-860, abs=1)
        assert (bent.volume_hu[lung] < -400).mean() > 0.55  # the rest are vessels
        air = bent.volume_hu < -950
        assert not (air & lung).any(), "what lies beside the body is no lung"


def test_an_elastic_body_bends_by_millimetres():
    still, bent = piece(3), piece(3, elastic_mm=8)
    moved = (still.lungs > 0) != (bent.lungs > 0)
    assert 0.01 < moved.sum() / (still.lungs > 0).sum() < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_shallow_breath_takes_air_from_the_lungs_and_from_nothing_else(seed):
    deep, shallow = piece(seed), piece(seed, breath=0.3, dependent=0.3)
    change = shallow.volume_hu - deep.volume_hu
    far_from_lung = np.ones(SHAPE, bool)
    near = np.argwhere(deep.lungs > 0)
    low, high = near.min(axis=0) - 2, near.max(axis=0) + 3
    far_from_lung[max(0, low[0]) : high[0], low[1] : high[1], low[2] : high[2]] = False
    assert np.abs(change[far_from_lung]).max() == 0
    assert change.min() > -1e-3
    assert change[deep.lungs > 0].mean() < 0.4 * 1020


def test_gravity_takes_more_air_from_the_back():
    change = np.mean([piece(seed, dependent=0.3).volume_hu - piece(seed).volume_hu for seed in range(24)], axis=0)
    lungs = piece(0).lungs > 0
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    front, back = lungs.copy(), lungs.copy()
    front[:, rows[0] + 10 :] = False
    back[:, : rows[-1] - 10] = False
    assert change[back].mean() > 3 * change[front].mean()


def test_slabs_beyond_the_ends_repeat_the_last_and_are_not_scored():
    body = anatomy()
    short = dataclasses.replace(
        body,
        volume_hu=body.volume_hu[:3],
        lungs=body.lungs[:3],
        lesions=body.lesions[:3],
        ignored=body.ignored[:3],
    )
    cut_piece = sample_deformed_crop(short, SHAPE, STILL, np.random.default_rng(0))
    ended = cut_piece.ignored.all(axis=(1, 2))
    assert 2 <= ended.sum() < SHAPE[0]
    inner = int(np.flatnonzero(~ended)[0])
    outer = 0 if ended[0] else SHAPE[0] - 1
    assert np.isfinite(cut_piece.volume_hu).all()
    assert (cut_piece.volume_hu[outer] > -950).sum() == pytest.approx(
        (cut_piece.volume_hu[inner] > -950).sum(), rel=0.1
    )


def test_a_mirrored_body_has_its_sides_put_right():
    mirrored = piece(1, mirrored=1.0)
    columns = {side: np.argwhere(mirrored.lungs == side)[:, 2].mean() for side in (RIGHT, LEFT)}
    assert columns[RIGHT] < columns[LEFT]
    x_mm = mirrored.offset_mm[1] + SPACING[2] * columns[LEFT]
    assert x_mm > 0


def test_what_may_be_real_emphysema_is_known_before_a_breath_hides_it():
    """Holes, thin areas, and all of a lung that is thin; nothing of an ordinary one."""
    body = anatomy()
    volume = body.volume_hu.copy()
    lung = (body.lungs == LEFT) & (volume < -600)
    volume[lung] = -915
    hole = np.zeros(volume.shape, bool)
    hole[:, 45:52, 38:44] = True
    volume[hole] = -990
    thinner = dataclasses.replace(body, volume_hu=volume)
    for breath in (0.0, 0.3):
        change = dataclasses.replace(STILL, breath=breath)
        crop = sample_deformed_crop(thinner, SHAPE, change, np.random.default_rng(2))
        assert crop.thin[crop.lungs == LEFT].all()
        right = crop.thin[crop.lungs == RIGHT]
        assert 0.005 < right.mean() < 0.2
    assert not piece(2).thin.any()
