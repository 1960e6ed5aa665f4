"""Emphysema against what readers call each kind, and against the densities of real patches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.synthesis.findings.toy import LUNG_HU, VESSEL_HU, canvas
from tests.synthesis.test_scene import SPACING
from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import Canvas, depth_mm
from tips_med.synthesis.findings.emphysema import KINDS, paint_emphysema
from tips_med.synthesis.scene import Scene

SEEDS = range(6)


def paint(kind, seed, side=LEFT):
    made = canvas(seed)
    before = made.volume_hu.copy()
    painted = paint_emphysema(made, side, kind)
    assert painted is not None
    assert painted.attributes[0] == kind
    return made, before, painted


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_it_is_darker_than_lung_and_takes_no_tissue_but_thin_vessels(kind, seed):
    made, before, painted = paint(kind, seed)
    change = made.volume_hu - before
    lung = painted.mask & (before == LUNG_HU)
    assert np.median(change[lung]) < -25
    assert change.max() < (0.35 * 880 if kind == "paraseptal" else 1), "only walls are new"
    assert made.volume_hu.min() > -1040
    assert (made.volume_hu[made.lungs == RIGHT] == before[made.lungs == RIGHT]).all()
    vessels = before == VESSEL_HU
    if painted.attributes in (("centrilobular", "mild"), ("paraseptal", painted.attributes[1])):
        assert np.abs(change[vessels]).max() == 0


def test_paraseptal_emphysema_lies_along_the_pleura_and_centrilobular_does_not():
    depth = {}
    for kind in KINDS:
        made = [paint(kind, seed) for seed in range(8)]
        lung = depth_mm(canvas(0).lungs == LEFT, SPACING)
        depth[kind] = [np.median(lung[painted.mask]) for _, _, painted in made]
    assert max(depth["paraseptal"]) < 16
    assert np.median(depth["centrilobular"]) > np.median(depth["paraseptal"]) + 3


def test_diffuse_emphysema_is_lung_of_low_density_with_few_vessels_and_hardly_a_hole():
    """As in real scans: a mean of about -970 to -900 HU, much of it below -950."""
    means, darker = [], []
    for seed in range(12):
        made, before, painted = paint("diffuse", seed)
        tissue = painted.mask & (made.volume_hu < -600)
        means.append(float(made.volume_hu[tissue].mean()))
        darker.append(float((made.volume_hu[tissue] < -950).mean()))
        vessel = painted.mask & (before == VESSEL_HU)
        assert made.volume_hu[vessel].mean() <= VESSEL_HU
        assert painted.mask.sum() > 0.2 * (made.lungs == LEFT).sum()
    assert -985 < min(means) < -930
    assert -930 < max(means) < -890
    assert np.median(darker) > 0.1


def test_thick_vessels_stay_where_thin_ones_are_lost():
    lungs = np.zeros((8, 60, 60), np.uint8)
    lungs[:, 4:-4, 4:-4] = RIGHT
    volume = np.where(lungs > 0, -860.0, 30.0).astype(np.float32)
    volume[:, 20, 10:50] = 30.0
    volume[:, 38:46, 10:50] = 30.0
    lost = []
    for seed in SEEDS:
        made = Canvas(volume.copy(), lungs.copy(), SPACING, np.random.default_rng(seed), np.zeros(lungs.shape, bool))
        assert paint_emphysema(made, RIGHT, "diffuse") is not None
        assert made.volume_hu[:, 40:44, 16:44].min() > 0
        lost.append(30.0 - made.volume_hu[:, 20, 16:44].mean())
    assert max(lost) > 100


def test_lung_that_is_gone_already_is_not_painted_and_stays_as_it_is():
    for kind in KINDS:
        made = canvas(1)
        made.volume_hu[made.lungs > 0] = -990
        before = made.volume_hu.copy()
        assert paint_emphysema(made, LEFT, kind) is None
        np.testing.assert_array_equal(made.volume_hu, before)


def test_lung_that_became_thinner_beside_it_is_neither_emphysema_nor_free_of_it():
    made, before, painted = paint("centrilobular", 3)
    thinner = (before - made.volume_hu > 20) & ~painted.mask
    assert thinner.any()
    scene = Scene(made.volume_hu, made.lungs, (painted,), np.zeros(thinner.shape, bool), (0.0, 0.0), SPACING)
    assert scene.unknown("emphysema")[thinner].all()
    assert not scene.unknown("emphysema")[painted.mask].any()
    assert not scene.unknown("ground_glass_opacity").any(), "it is no ground glass"
