from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.synthesis.test_scene import SPEC, anatomy
from tips_med.query import Lexicon
from tips_med.synthesis.scene import make_scene
from tips_med.training.scene_phrases import MIN_VOLUME_ML, scene_phrases

FINDINGS = ("mass", "ground_glass_opacity", "pleural_effusion")


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon.load("chest_ct")


def asked_of(seed: int, lexicon: Lexicon, **changes: object):
    spec = dataclasses.replace(SPEC, shape=None, **changes)
    scene = make_scene(anatomy(), spec, np.random.default_rng(seed))
    return scene, list(scene_phrases(scene, FINDINGS, lexicon, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_what_was_painted_and_every_phrase_says_the_question(seed, lexicon):
    scene, asked = asked_of(seed, lexicon, weights={"mass": 1.0})
    for one in asked:
        query = lexicon.parse(one.phrase)
        assert query.side == one.side
        assert (query.finding.id if query.finding else query.structure.id) == one.finding
        if one.mask is not None:
            assert one.mask.sum() * 0.01 >= MIN_VOLUME_ML
            if one.finding != "lung":
                np.testing.assert_array_equal(one.mask, scene.where(one.finding, one.side))


def test_the_side_that_has_none_is_asked_as_well(lexicon):
    for seed in range(6):
        _, asked = asked_of(seed, lexicon, weights={"pleural_effusion": 1.0}, max_findings=1)
        fluid = [one for one in asked if one.finding == "pleural_effusion"]
        if len(fluid) == 3:
            there = {one.side: one.mask is not None for one in fluid}
            assert there[None]
            assert there["left"] != there["right"]
            return
    pytest.fail("no scene had fluid")


def test_what_nobody_knows_is_not_asked(lexicon):
    scene, asked = asked_of(0, lexicon, empty=1.0)
    assert {one.finding for one in asked} == {"lung", *FINDINGS}
    disputed = dataclasses.replace(scene, ignored=np.ones_like(scene.ignored))
    again = list(scene_phrases(disputed, FINDINGS, lexicon, np.random.default_rng(0)))
    assert {one.finding for one in again} == {"lung"}
