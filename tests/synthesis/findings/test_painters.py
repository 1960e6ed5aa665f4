"""Each new painter against the physics that a radiologist would look for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from tests.synthesis.findings.toy import LUNG_HU, canvas, labelled
from tips_med.geometry import LEFT, RIGHT
from tips_med.lexicon import Lexicon
from tips_med.synthesis.findings import Painted, known_findings
from tips_med.synthesis.findings.canvas import depth_mm
from tips_med.synthesis.findings.pleura import KINDS, paint_effusion
from tips_med.synthesis.organs import LABELS
from tips_med.synthesis.scene import Scene

SEEDS = range(6)
LEXICON = Lexicon.load("chest_ct")
IN_ORGANS = ("pericardial_effusion", "cyst", "lesion")


def paint(finding, seed, side=None):
    made = labelled(seed) if finding in IN_ORGANS else canvas(seed)
    before = made.volume_hu.copy()
    painted = known_findings()[finding].paint(made, side)
    assert painted is not None
    return made, before, painted


def moved_lungs(made, seed):
    """The lungs as they were before anything took their place, moved with the body."""
    return made.follow(canvas(seed).lungs)


def part(painted: Painted, finding: str) -> Painted:
    return next(one for one in painted.everything if one.finding == finding)


@pytest.mark.parametrize("finding", list(known_findings()))
def test_what_is_painted_is_said_in_terms_of_the_lexicon_and_is_the_same_for_the_same_seed(finding):
    terms = {kind: {term.id for term in LEXICON.terms if term.kind == kind} for kind in ("finding", "attribute")}
    structures = {term.id for term in LEXICON.terms if term.kind == "structure"}
    for seed in SEEDS:
        (first, _, painted), (again, _, same) = paint(finding, seed), paint(finding, seed)
        np.testing.assert_array_equal(first.volume_hu, again.volume_hu)
        np.testing.assert_array_equal(painted.mask, same.mask)
        assert np.isfinite(first.volume_hu).all()
        for one in painted.everything:
            assert one.finding in terms["finding"]
            assert set(one.attributes) <= terms["attribute"]
            assert one.structure in structures
            assert one.side in ("left", "right", None)
            assert (first.taken & one.mask).sum() == one.mask.sum() > 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("finding", ["reticulation", "honeycombing"])
def test_fibrosis_is_a_net_of_bright_lines_under_the_pleura(finding, seed):
    made, before, painted = paint(finding, seed, RIGHT)
    assert painted.side == "right"
    depth = depth_mm(canvas(seed).lungs == RIGHT, made.spacing_mm)[painted.mask]
    assert np.percentile(depth, 90) < 36
    lung = painted.mask & (before == LUNG_HU)
    after = made.volume_hu[lung]
    assert np.percentile(after, 90) - np.percentile(after, 10) > 120, "lines and what lies between them differ"
    if finding == "honeycombing":
        assert (after < LUNG_HU - 30).mean() > 0.1, "cysts hold more air than lung does"
        assert (after > -600).mean() > 0.2, "and have thick walls"
    else:
        assert after.min() >= LUNG_HU - 1, "nothing is emptied between the lines"


def test_atelectasis_has_no_air_and_each_kind_lies_where_it_belongs():
    kinds = set()
    for seed in range(40):
        made, _, painted = paint("atelectasis", seed, RIGHT)
        kind = painted.attributes[0] if painted.attributes else "whole"
        kinds.add(kind)
        lung = moved_lungs(made, seed) == RIGHT
        inner = depth_mm(painted.mask, made.spacing_mm) > 4
        if inner.any():
            assert -120 < np.median(made.volume_hu[inner]) < 110
        if kind == "dependent":
            assert np.argwhere(painted.mask)[:, 1].mean() > np.argwhere(lung)[:, 1].mean() + 5
        if kind == "segmental":
            assert depth_mm(lung, made.spacing_mm)[painted.mask].min() < 4, "it reaches the pleura"
        if kind == "lobar":
            assert np.argwhere(painted.mask)[:, 2].mean() > np.argwhere(lung)[:, 2].mean(), (
                "it folds to the mediastinum"
            )
        if kind == "whole":
            assert painted.mask[lung].mean() > 0.95
        if kind == "linear":
            assert depth_mm(painted.mask, made.spacing_mm).max() <= 5, "it is thin"
    assert kinds == {"dependent", "segmental", "linear", "lobar", "whole"}


@pytest.mark.parametrize("kind", ["free", "loculated"])
@pytest.mark.parametrize("seed", SEEDS)
def test_fluid_leaves_no_air_at_the_chest_wall(kind, seed):
    """The pixels around a lung hold some of it and are no lung: a dark line there would give fluid away."""
    made = canvas(seed)
    wall = ndimage.binary_dilation(made.lungs > 0, np.ones((1, 3, 3))) & (made.lungs == 0)
    made.volume_hu[wall] = -400
    painted = paint_effusion(made, side=RIGHT, kind=kind)
    wall = made.follow(wall) & (made.follow(canvas(seed).lungs) == 0)
    beside = wall & ndimage.binary_dilation(painted.mask, np.ones((1, 3, 3)))
    assert beside.sum() > 20
    assert np.mean(made.volume_hu[beside] > -150) > 0.85
    away = wall & ~ndimage.binary_dilation(painted.mask | (painted.haze > 0), np.ones((1, 9, 9)))
    assert not away.any() or np.median(made.volume_hu[away]) < -300


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_effusion_of_each_kind_is_fluid_that_lies_where_it_belongs(kind, seed):
    made = canvas(seed)
    painted = paint_effusion(made, side=RIGHT, kind=kind)
    assert painted is not None
    lung = moved_lungs(made, seed) == RIGHT
    assert lung[painted.mask].mean() > 0.99
    assert not (made.lungs[painted.mask] > 0).any(), "fluid is no lung"
    inner = depth_mm(painted.mask, made.spacing_mm) > 4
    if inner.any():
        assert -25 < np.median(made.volume_hu[inner]) < 80
    fluid = painted.mask | np.any([one.mask for one in painted.more] or [np.zeros_like(lung)], axis=0)
    if kind == "white_out":
        assert fluid[lung].mean() > 0.95, "no air is left on this side"
    if kind in ("loculated", "fissural"):
        assert painted.mask[lung].mean() < 0.9


@pytest.mark.parametrize(("gravity", "axis", "sign"), [((1.0, 0.0), 1, 1), ((-1.0, 0.0), 1, -1), ((0.0, 1.0), 2, 1)])
def test_free_fluid_lies_where_gravity_takes_it(gravity, axis, sign):
    for seed in SEEDS:
        made = canvas(seed)
        made.gravity = gravity
        labels = made.lungs.copy()
        lung = np.argwhere(labels == LEFT)[:, axis].mean()
        painted = paint_effusion(made, side=LEFT, kind="free")
        assert painted is not None
        if painted.mask.sum() > 0.9 * (labels == LEFT).sum():
            continue  # it fills all of it
        assert sign * (np.argwhere(painted.mask)[:, axis].mean() - lung) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cavity_is_gas_with_a_wall_of_its_mother_around_it(seed):
    made, _, mother = paint("cavity", seed)
    assert mother.finding in ("nodule", "mass", "consolidation")
    assert "cavitary" in mother.attributes
    cavity = part(mother, "cavity")
    assert cavity.side == mother.side
    assert mother.mask[cavity.mask].all()
    assert np.percentile(made.volume_hu[cavity.mask], 25) < -850
    wall = mother.mask & ~cavity.mask
    assert wall.sum() > 0.2 * mother.mask.sum()
    assert np.median(made.volume_hu[wall]) > -300


@pytest.mark.parametrize("seed", SEEDS)
def test_calcium_is_brighter_than_any_tissue_and_lies_in_its_nodule(seed):
    made, _, nodule = paint("calcification", seed)
    assert nodule.finding == "nodule"
    assert {"solid", "calcified"} <= set(nodule.attributes)
    calcium = part(nodule, "calcification")
    assert nodule.mask[calcium.mask].all()
    assert np.percentile(made.volume_hu[calcium.mask], 90) > 160


@pytest.mark.parametrize("seed", SEEDS)
def test_pericardial_fluid_surrounds_the_heart_thicker_behind_it(seed):
    made, before, painted = paint("pericardial_effusion", seed)
    heart = made.organs == LABELS["heart"]
    np.testing.assert_array_equal(made.volume_hu[heart], before[heart])
    assert not (painted.mask & heart).any()
    assert -40 < np.median(made.volume_hu[painted.mask]) < 40
    assert (depth_mm(~heart, made.spacing_mm)[painted.mask] < 60).all()
    assert np.argwhere(painted.mask)[:, 1].mean() > np.argwhere(heart)[:, 1].mean()
    assert painted.side is None
    assert not made.lungs[painted.mask].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_cysts_hold_water_and_lesions_differ_from_their_organ(seed):
    made, before, cyst = paint("cyst", seed)
    assert -20 < np.median(made.volume_hu[cyst.mask]) < 30
    made, before, lesion = paint("lesion", seed)
    inside = (made.organs == LABELS["liver"]) if lesion.structure == "liver" else made.organs >= LABELS["kidney_right"]
    assert inside[lesion.mask].all()
    assert abs(np.median(made.volume_hu[lesion.mask]) - 50) > 12
    for painted in (cyst, lesion):
        columns = np.argwhere(painted.mask)[:, 2].mean()
        assert painted.side == (None if painted.structure == "liver" else "right" if columns < 70 else "left")


def test_only_a_kidney_has_a_side():
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        _, _, painted = paint("cyst", 3, side)
        assert (painted.structure, painted.side) == ("kidney", name)


@pytest.mark.parametrize("finding", IN_ORGANS)
def test_without_labels_of_organs_nothing_is_painted_into_them(finding):
    made = canvas(1)
    assert known_findings()[finding].paint(made) is None
    assert not made.taken.any()


@pytest.mark.parametrize("finding", [name for name in known_findings() if name not in IN_ORGANS])
def test_a_canvas_without_lungs_stays_as_it_is(finding):
    made = canvas(2)
    made.lungs[...] = 0
    before = made.volume_hu.copy()
    assert known_findings()[finding].paint(made) is None
    np.testing.assert_array_equal(made.volume_hu, before)


def test_consolidation_fills_the_lung_but_for_open_bronchi_or_else_is_said_to_be_solid():
    """In one that is called solid no air is to be seen; in the others some is, deep inside."""
    solid = []
    for seed in range(20):
        made, before, painted = paint("consolidation", seed)
        deep = depth_mm(painted.mask, made.spacing_mm) > 8
        if deep.sum() < 200:
            continue
        aired = (made.volume_hu < -350) & (before < LUNG_HU + 1) & deep
        solid.append("solid" in painted.attributes)
        assert np.median(made.volume_hu[deep]) > -300
        assert solid[-1] or aired.any()
    assert False in solid


def test_a_consolidation_without_bronchi_may_as_well_be_called_a_mass():
    made, _, painted = paint("consolidation", 3)
    nothing = np.zeros(painted.mask.shape, bool)
    for attributes, unknown in ((("solid",), True), ((), False)):
        one = replace(painted, attributes=attributes)
        scene = Scene(made.volume_hu, made.lungs, (one,), nothing, (0.0, 0.0), made.spacing_mm)
        assert scene.unknown("mass")[painted.mask].all() == unknown
        assert not scene.unknown("pleural_effusion").any()
