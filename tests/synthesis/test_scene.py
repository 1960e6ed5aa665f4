from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.slabs import SlabSpec
from tips_med.synthesis.acquisition import AcquisitionSpec, acquire
from tips_med.synthesis.anatomy import Anatomy, make_anatomy
from tips_med.synthesis.deform import Deformation
from tips_med.synthesis.findings import Canvas, fill_air, known_findings
from tips_med.synthesis.noise import smooth_noise
from tips_med.synthesis.scene import SceneSpec, make_scene, names

SPACING = (2.5, 2.0, 2.0)
SPEC = SceneSpec(shape=(6, 96, 128), empty=0.0, deformation=Deformation(mirrored=0.0))


def anatomy(lesion: bool = False) -> Anatomy:
    """Two elliptic lungs with vessels in a body; the right one is smaller."""
    shape = (20, 100, 140)
    z, y, x = np.indices(shape)
    rng = np.random.default_rng(5)
    volume = np.where(((y - 50) / 45) ** 2 + ((x - 70) / 65) ** 2 < 1, 20, -1000).astype(np.int16)
    right = ((y - 50) / 30) ** 2 + ((x - 40) / 20) ** 2 < 1
    left = ((y - 50) / 34) ** 2 + ((x - 100) / 24) ** 2 < 1
    lungs = np.where(left, LEFT, np.where(right, RIGHT, 0)).astype(np.uint8)
    volume[lungs > 0] = -860
    vessels = (ndimage.gaussian_filter(rng.standard_normal(shape), (3, 1, 1)) > 0.25) & (lungs > 0)
    volume[vessels] = 30
    lesions = (
        ((z - 10) ** 2 + (y - 50) ** 2 + (x - 100) ** 2 < 36).astype(np.uint8) if lesion else np.zeros(shape, np.uint8)
    )
    return Anatomy("toy", volume, lungs, lesions, (24.0,) if lesion else (), np.zeros(shape, bool), SPACING)


def canvas(seed: int) -> Canvas:
    body = anatomy()
    rng = np.random.default_rng(seed)
    return Canvas(body.volume_hu.astype(np.float32), body.lungs.copy(), SPACING, rng, np.zeros(body.lungs.shape, bool))


IN_LUNGS = [name for name in known_findings() if name not in ("pericardial_effusion", "cyst", "lesion")]


@pytest.mark.parametrize("finding", IN_LUNGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_finding_changes_the_lung_where_its_mask_is_and_little_elsewhere(finding, seed):
    before = canvas(seed)
    after = canvas(seed)
    painted = known_findings()[finding].paint(after, side=RIGHT)
    assert painted is not None
    assert painted.side == "right"
    assert painted.mask.any()
    for shift in after.shifts:  # a collapse moves the body
        before.move(shift)
    assert (before.lungs[painted.mask] == RIGHT).mean() > 0.99
    changed = np.abs(after.volume_hu - before.volume_hu)
    near = ndimage.binary_dilation(painted.mask, iterations=12)
    if painted.haze is not None:
        near |= painted.haze
    assert changed[before.lungs == LEFT].max() == 0
    assert np.median(changed[painted.mask]) > 30
    assert (changed[~near] > 60).mean() < 0.01


def test_vessels_stay_visible_in_ground_glass():
    lung = np.array([-860.0, 30.0, -200.0], np.float32)
    hazy = fill_air(lung, np.full(3, 0.4, np.float32), 20.0)
    assert hazy[0] == pytest.approx(-860 + 0.4 * 0.86 * 1020)
    assert hazy[1] == 30
    assert np.all(np.diff([hazy[0], hazy[2], hazy[1]]) > 0)


def test_fluid_lies_at_the_back_and_free_air_at_the_front():
    fluid, air = (
        known_findings()["pleural_effusion"].paint(canvas(4), side=LEFT, kind="free"),
        known_findings()["pneumothorax"].paint(canvas(4), side=LEFT),
    )
    rows = lambda mask: np.argwhere(mask)[:, 1].mean()  # noqa: E731
    lung = rows(canvas(4).lungs == LEFT)
    assert rows(air.mask) < lung < rows(fluid.mask)


def test_the_same_seed_paints_the_same_scene_and_another_paints_another():
    body = anatomy()
    first, again, other = (make_scene(body, SPEC, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.volume_hu, again.volume_hu)
    assert [p.finding for p in first.findings] == [p.finding for p in again.findings]
    assert not np.array_equal(first.volume_hu, other.volume_hu)


def test_mirroring_swaps_the_sides_of_lungs_and_of_findings():
    body = anatomy()
    plain = SPEC
    mirrored = dataclasses.replace(SPEC, deformation=Deformation(mirrored=1.0))
    for spec in (plain, mirrored):
        for seed in range(1, 5):
            scene = make_scene(body, spec, np.random.default_rng(seed))
            columns = {side: np.argwhere(scene.hemithorax == side)[:, 2].mean() for side in (RIGHT, LEFT)}
            assert columns[RIGHT] < columns[LEFT], "the patient's left is where columns run to, mirrored or not"
            assert (scene.hemithorax == LEFT).sum() != (scene.hemithorax == RIGHT).sum()
            larger_is_left = (scene.hemithorax == LEFT).sum() > (scene.hemithorax == RIGHT).sum()
            assert larger_is_left == (spec is plain)
            for painted in scene.findings:
                centre = np.argwhere(painted.mask)[:, 2].mean()
                assert (centre > np.mean(list(columns.values()))) == (painted.side == "left")


def test_a_scene_knows_where_it_is_in_mm_from_the_middle_of_the_body():
    body = anatomy()
    for seed in range(5):
        scene = make_scene(body, SPEC, np.random.default_rng(seed))
        x_mm = scene.offset_mm[1] + SPACING[2] * np.arange(scene.volume_hu.shape[2])
        left = np.argwhere(scene.hemithorax == LEFT)[:, 2]
        right = np.argwhere(scene.hemithorax == RIGHT)[:, 2]
        assert np.median(x_mm[left]) > 20
        assert np.median(x_mm[right]) < -20


def test_real_lesions_are_asked_for_and_go_by_either_name_between_the_sizes():
    body = anatomy(lesion=True)
    scene = make_scene(body, dataclasses.replace(SPEC, shape=None, empty=1.0), np.random.default_rng(0))
    (lesion,) = scene.findings
    assert lesion.side == "left"
    assert names(lesion) == {"nodule", "mass", "lesion"}
    assert scene.where("mass", "left").any()
    assert not scene.where("mass", "right").any()


def test_acquisition_keeps_the_body_and_changes_the_picture():
    body = anatomy().volume_hu.astype(np.float32)
    for seed in range(6):
        scanned = acquire(body, SPACING, np.random.default_rng(seed))
        assert scanned.shape == body.shape
        assert scanned.dtype == np.float32
        assert np.corrcoef(scanned.ravel(), body.ravel())[0, 1] > 0.95
        assert np.abs(scanned - body).mean() > 1


def test_noise_has_unit_variance_and_the_asked_scale():
    rng = np.random.default_rng(0)
    fine, coarse = (smooth_noise((24, 120, 120), scale, SPACING, rng) for scale in (4.0, 16.0))
    assert fine.std() == pytest.approx(1, abs=0.2)
    assert np.abs(np.diff(coarse, axis=2)).mean() < 0.6 * np.abs(np.diff(fine, axis=2)).mean()


def test_an_anatomy_is_saved_and_made_from_any_scan(any_scan, tmp_path):
    lungs = np.zeros(any_scan.shape, np.uint8)
    lungs[2:10, 4:15, 3:12] = LEFT
    made = make_anatomy("toy", any_scan, SlabSpec(spacing_mm=(2.0, 1.0, 1.0), patch=4), lungs)
    assert made.lungs.sum() > 0
    ml = (lungs > 0).sum() * abs(np.linalg.det(any_scan.lps_from_kji[:3, :3]))
    assert (made.lungs > 0).sum() * 2.0 == pytest.approx(ml, rel=0.15)
    made.save(tmp_path / "toy.safetensors")
    again = Anatomy.load(tmp_path / "toy.safetensors")
    np.testing.assert_array_equal(again.volume_hu, made.volume_hu)
    assert (again.spacing_mm, again.lesion_mm, again.name) == (made.spacing_mm, made.lesion_mm, "toy")


def test_a_scene_is_scanned_as_its_acquisition_says():
    """A table lies under the patient where one is asked for, and nowhere is anything else changed behind it."""
    still = dataclasses.replace(SPEC, shape=None, empty=1.0, strength=0.0)
    plain = make_scene(anatomy(), still, np.random.default_rng(3)).volume_hu
    on_table = dataclasses.replace(still, acquisition=AcquisitionSpec(table=1.0))
    scanned = make_scene(anatomy(), on_table, np.random.default_rng(3)).volume_hu
    changed = np.abs(scanned - plain) > 1
    assert changed.any()
    assert (plain[changed] < -700).all()  # only air gives way


def test_every_finding_comes_up_in_turn_and_each_fourth_scene_is_left_to_chance():
    spec = SceneSpec(shape=SPEC.shape, weights={"nodule": 1.0, "pneumothorax": 0.1, "mass": 0.0}, empty=1.0)
    assert [spec.in_turn(n) for n in range(5)] == ["nodule", "pneumothorax", "nodule", None, "pneumothorax"]
    for n in (1, 4):
        scene = make_scene(anatomy(), spec, np.random.default_rng(n), spec.in_turn(n))
        assert "pneumothorax" in {painted.finding for painted in scene.findings}
    assert make_scene(anatomy(), spec, np.random.default_rng(3), spec.in_turn(3)).findings == ()


def test_emphysema_is_painted_around_what_is_there(monkeypatch):
    """It is all over the lung: a mass that was painted later would be cut to pieces."""
    order = []
    for name, finding in known_findings().items():
        painter = partial(lambda name, paint, canvas: order.append(name) or paint(canvas), name, finding.paint)
        monkeypatch.setitem(known_findings(), name, dataclasses.replace(finding, paint=painter))
    spec = SceneSpec(shape=(6, 96, 128), max_findings=4, weights={"emphysema": 1, "mass": 1, "pleural_effusion": 1})
    for seed in range(6):
        order.clear()
        make_scene(anatomy(), spec, np.random.default_rng(seed), "emphysema")
        turns = ["pleural_effusion", "mass", "emphysema"]
        assert order == sorted(order, key=turns.index)
