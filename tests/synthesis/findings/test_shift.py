"""What collapse pulls and what fluid pushes: volume, labels, and findings that were there before."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.synthesis.findings.toy import canvas
from tests.synthesis.test_scene import SPACING, anatomy
from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.deform import Deformation
from tips_med.synthesis.findings import Canvas, Painted
from tips_med.synthesis.findings.collapse import paint_atelectasis
from tips_med.synthesis.findings.nodules import paint_mass
from tips_med.synthesis.findings.pleura import paint_effusion
from tips_med.synthesis.findings.shift import shift_towards
from tips_med.synthesis.scene import SceneSpec, make_scene


def trachea(made: Canvas) -> float:
    """Mean column of what is marked between the lungs."""
    return float(np.argwhere(made.volume_hu[10] > 300)[:, 1].mean())


def with_trachea(mirrored: bool = False) -> Canvas:
    made = canvas(0)
    made.volume_hu[:, 46:54, 66:74] = 500
    made.organs = (made.volume_hu > 300).astype(np.uint8)
    if mirrored:
        made.volume_hu = made.volume_hu[:, :, ::-1].copy()
        made.lungs = np.array([0, LEFT, RIGHT], np.uint8)[made.lungs[:, :, ::-1]]
        made.organs = made.organs[:, :, ::-1].copy()
    return made


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_the_middle_moves_to_the_side_by_so_many_millimetres_and_the_wall_stays(side, mirrored):
    made, before = with_trachea(mirrored), with_trachea(mirrored)
    assert shift_towards(made, side, 16.0)
    sign = -1 if side == RIGHT else 1  # the patient's right is where columns begin, mirrored or not
    assert trachea(made) - trachea(before) == pytest.approx(sign * 8, abs=1)
    sizes = [(one.lungs == side).sum() for one in (before, made)]
    others = [(one.lungs == LEFT + RIGHT - side).sum() for one in (before, made)]
    assert sizes[1] < 0.95 * sizes[0]
    assert others[1] > 1.03 * others[0]
    for rows in (slice(0, 12), slice(90, 100)):  # sternum and spine
        np.testing.assert_allclose(made.volume_hu[:, rows], before.volume_hu[:, rows], atol=1)
    skin = [np.argwhere(one.volume_hu[10] > -500)[:, 1] for one in (before, made)]
    assert [skin[1].min(), skin[1].max()] == [skin[0].min(), skin[0].max()]


def test_labels_go_where_the_voxels_go():
    made = with_trachea()
    made.taken[:, 40:60, 90:100] = True
    made.volume_hu[made.taken] = -300
    shift_towards(made, LEFT, -14.0)
    edge = ndimage.binary_dilation(made.lungs > 0) & ~ndimage.binary_erosion(made.lungs > 0)
    assert (made.volume_hu[(made.lungs > 0) & ~edge] < 31).all()
    assert np.median(made.volume_hu[made.organs > 0]) == 500
    inside = ndimage.binary_erosion(made.taken, np.ones((1, 3, 3)))
    np.testing.assert_allclose(made.volume_hu[inside], -300, atol=1)


def tall() -> Canvas:
    """A chest of 200 mm whose lungs begin at 80 mm, with a liver below the right one."""
    slabs = 80
    flat = canvas(0)
    volume, lungs = (np.repeat(one[10:11], slabs, axis=0) for one in (flat.volume_hu, flat.lungs))
    below = np.zeros(lungs.shape, bool)
    below[:32] = True
    volume[below & (lungs > 0)] = 60
    lungs[below] = 0
    return Canvas(volume, lungs, SPACING, np.random.default_rng(0), np.zeros(lungs.shape, bool))


@pytest.mark.parametrize("lift_mm", [25.0, -25.0])
def test_the_diaphragm_of_one_side_rises_or_is_pushed_down(lift_mm):
    made, before = tall(), tall()
    assert shift_towards(made, RIGHT, 0.0, lift_mm)
    lowest = {
        side: [float(np.argwhere(one.lungs[:, 50, 40 if side == RIGHT else 100])[0, 0]) for one in (before, made)]
        for side in (RIGHT, LEFT)
    }
    assert (lowest[RIGHT][1] - lowest[RIGHT][0]) * SPACING[0] == pytest.approx(lift_mm, abs=4)
    assert lowest[LEFT][1] == lowest[LEFT][0]
    dome = ndimage.binary_erosion(made.lungs > 0, np.ones((3, 3, 3)))
    assert np.median(made.volume_hu[dome]) < -500


def test_nothing_moves_where_a_lung_is_missing_or_the_diaphragm_is_not_shown():
    made = canvas(0)
    assert not shift_towards(made, RIGHT, 0.0, 20.0)
    made.lungs[made.lungs == LEFT] = 0
    before = made.volume_hu.copy()
    assert not shift_towards(made, RIGHT, 20.0)
    assert not made.shifts
    np.testing.assert_array_equal(made.volume_hu, before)


def test_a_collapsed_lung_pulls_and_much_fluid_pushes():
    def moved(paint, side):
        found = []
        for seed in range(40):
            made = with_trachea()
            made.rng = np.random.default_rng(seed)
            painted = paint(made, side)
            if made.shifts and painted is not None:
                found.append((trachea(made) - 69.5) * (1 if side == LEFT else -1))
        return found

    pulled = moved(paint_atelectasis, RIGHT)
    assert len(pulled) >= 3
    assert min(pulled) > 0
    pushed = moved(lambda made, side: paint_effusion(made, side, "free"), LEFT)
    assert len(pushed) >= 3
    assert max(pushed) < 0


def test_everything_that_a_scene_knows_moves_with_the_body():
    """The hemithorax and a real lesion's mask fit what is seen, whatever was moved by what."""
    spec = SceneSpec(
        shape=(6, 96, 128),
        empty=0.0,
        strength=0.0,
        max_findings=1,
        weights={"atelectasis": 1.0},
        deformation=Deformation(mirrored=0.5, breath=0, dependent=0),
    )
    body, changed = anatomy(lesion=True), 0
    body.volume_hu[body.lesions > 0] = 400
    for seed in range(30):
        scene = make_scene(body, spec, np.random.default_rng(seed), "atelectasis")
        lesion = [one for one in scene.findings if one.finding in ("nodule", "mass")]
        for one in lesion:
            inner = ndimage.binary_erosion(one.mask, np.ones((1, 3, 3)))
            assert not inner.any() or np.median(scene.volume_hu[inner]) > 200
        assert (scene.hemithorax[scene.lungs > 0] == scene.lungs[scene.lungs > 0]).all()
        painted = next((one for one in scene.findings if one.finding == "atelectasis"), None)
        if painted is not None:
            sides = np.bincount(scene.hemithorax[painted.mask], minlength=3)
            assert sides[LEFT if painted.side == "left" else RIGHT] == painted.mask.sum()
            changed += painted.attributes in ((), ("lobar",))
    assert changed >= 3, "few of them moved anything"


def test_what_is_on_the_canvas_moves_and_other_labels_can_follow():
    made = canvas(0)
    outline = made.lungs.copy()
    mask = np.zeros(made.lungs.shape, bool)
    mask[8:12, 45:55, 95:105] = True
    made.add(Painted("mass", "left", mask, more=(Painted("cavity", "left", mask),)))
    made.add(None)
    assert [one.finding for one in made.found] == ["mass", "cavity"]
    np.testing.assert_array_equal(made.follow(outline), outline)
    for shift_mm in (12.0, 6.0):
        shift_towards(made, LEFT, shift_mm)
    np.testing.assert_array_equal(made.follow(outline), made.lungs)
    for one in made.found:
        assert np.argwhere(one.mask)[:, 2].mean() > np.argwhere(mask)[:, 2].mean() + 2


def test_a_diaphragm_that_rises_leaves_the_lowest_slab_where_it_is():
    made, before = tall(), tall()
    for one in (made, before):
        for name in ("volume_hu", "lungs", "taken"):
            setattr(one, name, getattr(one, name)[24:].copy())
        one.volume_hu[0] = 777.0
    assert shift_towards(made, RIGHT, 0.0, 20.0)
    assert (made.volume_hu[0] == 777.0).all()
    assert (made.volume_hu[2:] < 700).all(), "it is not repeated further up"


def test_a_finding_of_many_parts_moves_as_one():
    made = canvas(0)
    mask = np.zeros(made.lungs.shape, bool)
    mask[8:12, 45:55, 95:105] = True
    part = Painted("cavity", "left", mask)
    whole = Painted("mass", "left", mask, haze=mask, more=(part,))
    shift_towards(made, LEFT, 20.0)
    moved = made.shifts[0].painted(whole)
    columns = [np.argwhere(one)[:, 2].mean() for one in (moved.mask, moved.haze, moved.more[0].mask)]
    assert columns[0] == columns[1] == columns[2]
    assert columns[0] > np.argwhere(mask)[:, 2].mean() + 2


def test_behind_a_large_mass_the_lung_may_have_no_air_and_has_a_mask_of_its_own():
    denser, others = [], 0
    for seed in range(60):
        made = canvas(seed)
        mass = paint_mass(made, RIGHT)
        behind = [one for one in mass.more if one.finding in ("atelectasis", "consolidation")]
        if not behind or behind[0].mask.sum() < 500:
            continue
        (one,) = behind
        others += 1
        assert one.side == "right"
        assert not (one.mask & mass.mask).any()
        assert np.median(made.volume_hu[one.mask]) > -60
        denser.append(np.median(made.volume_hu[one.mask]) > np.median(made.volume_hu[mass.mask]))
        seam = ndimage.binary_dilation(mass.mask, np.ones((1, 3, 3))) & one.mask
        assert np.median(made.volume_hu[seam]) > -150, "no line of air lies between them"
    assert others >= 4
    assert 0 < np.mean(denser) < 1
