"""A phantom is a body: everything lies where it belongs, on the side where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.findings import Canvas, known_findings
from tips_med.synthesis.organs import LABELS
from tips_med.synthesis.phantom import make_phantom

SPACING = (5.0, 5.0, 5.0)
SEEDS = (1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def body(request) -> Anatomy:
    return make_phantom(request.param, SPACING)


def middle(mask: np.ndarray) -> np.ndarray:
    """z (up), y (to the back), x (to the left)."""
    return np.argwhere(mask).mean(axis=0)


def ml(mask: np.ndarray) -> float:
    return float(mask.sum() * np.prod(SPACING) / 1000)


def test_the_same_seed_builds_the_same_body_and_another_another():
    coarse = (10.0, 8.0, 8.0)
    first, again, other = (make_phantom(seed, coarse) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.volume_hu, again.volume_hu)
    np.testing.assert_array_equal(first.organs, again.organs)
    assert other.volume_hu.shape != first.volume_hu.shape or not np.array_equal(other.volume_hu, first.volume_hu)


def test_lungs_are_plausible_and_on_their_sides(body):
    right, left = body.lungs == RIGHT, body.lungs == LEFT
    for lung in (right, left):
        assert 900 < ml(lung) < 5000
        assert -930 < np.median(body.volume_hu[lung]) < -740
    assert 0.65 < ml(left) / ml(right) < 1.05
    assert middle(right)[2] < middle(left)[2], "x grows to the patient's left"
    assert middle(right)[2] < body.middle_yx[1] < middle(left)[2]


def test_organs_lie_where_they_belong(body):
    at = {organ: middle(body.organs == label) for organ, label in LABELS.items() if (body.organs == label).any()}
    column = body.middle_yx[1]
    assert at["liver"][2] < column < at["spleen"][2]
    assert at["kidney_right"][2] < column < at["kidney_left"][2]
    heart = body.organs == LABELS["heart"]
    assert (np.argwhere(heart)[:, 2] > column).mean() > 0.6
    assert at["spine"][1] > at["aorta"][1] > at["heart"][1], "the aorta runs in front of the spine"
    assert at["liver"][0] < at["heart"][0] < at["trachea"][0]
    assert (np.argwhere(body.organs == LABELS["rib_right"])[:, 2] < column + 10).all()
    assert 700 < ml(body.organs == LABELS["liver"]) < 2800
    assert 250 < ml(heart) < 1100
    assert 60 < ml(body.organs == LABELS["kidney_left"]) < 320
    assert 50 < ml(body.organs == LABELS["spleen"]) < 500


def test_tissues_have_their_densities(body):
    median = {organ: np.median(body.volume_hu[body.organs == label]) for organ, label in LABELS.items()}
    assert median["trachea"] < -300
    assert median["spine"] > 110
    assert 25 < median["liver"] < 160
    assert 25 < median["heart"] < 400
    for edge in (body.volume_hu[:, 0], body.volume_hu[:, -1], body.volume_hu[:, :, 0], body.volume_hu[:, :, -1]):
        assert (edge < -900).all(), "around the body is air"
    fat = (body.volume_hu > -130) & (body.volume_hu < -70)
    assert ml(fat) > 1500


def test_lungs_have_vessels_that_fill_a_small_part_of_them(body):
    share = (body.volume_hu[body.lungs > 0] > -400).mean()
    assert 0.01 < share < 0.2


def test_labels_do_not_overlap(body):
    assert not (body.organs[body.lungs > 0] > 0).any()
    assert body.lesion_mm == ()
    assert not body.lesions.any()


@pytest.mark.parametrize("finding", ["pericardial_effusion", "cyst", "lesion"])
def test_what_needs_organs_can_be_painted_into_a_phantom(body, finding):
    canvas = Canvas(
        body.volume_hu.astype(np.float32),
        body.lungs.copy(),
        SPACING,
        np.random.default_rng(1),
        np.zeros(body.lungs.shape, bool),
        body.organs,
    )
    painted = known_findings()[finding].paint(canvas)
    assert painted is not None
    assert -30 < np.median(canvas.volume_hu[painted.mask]) < 260
