from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.synthesis.test_scene import anatomy
from tips_med.geometry import LEFT, RIGHT
from tips_med.query import Lexicon
from tips_med.slabs import SlabSpec
from tips_med.synthesis.findings import Painted
from tips_med.synthesis.language import PhraseSlots
from tips_med.synthesis.scene import Scene, SceneSpec
from tips_med.training.painted import PaintedScenes
from tips_med.training.questions import answer_mask, draw_questions, word_mask

LEXICON = Lexicon.load("chest_ct")
FINDINGS = ("nodule", "mass", "pleural_effusion")


@pytest.fixture
def scene() -> Scene:
    """A part-solid nodule in the right lung, a real lesion that nobody described in the left; y and x around 0."""
    shape = (4, 24, 32)
    volume = np.full(shape, 20, np.float32)
    lungs = np.zeros(shape, np.uint8)
    lungs[:, 4:20, 3:14], lungs[:, 4:20, 18:29] = RIGHT, LEFT
    volume[lungs > 0] = -860
    nodule, lesion = np.zeros(shape, bool), np.zeros(shape, bool)
    nodule[1:3, 8:11, 6:9], lesion[1:3, 8:11, 22:25] = True, True
    ignored = np.zeros(shape, bool)
    ignored[:, 0] = True
    found = (Painted("nodule", "right", nodule, ("part_solid",), 12.0), Painted("nodule", "left", lesion, (), 12.0))
    return Scene(volume, lungs, found, ignored, (-24.0, -32.0), (2.5, 2.0, 2.0))


def test_a_side_and_an_attribute_narrow_the_answer(scene):
    everything, _ = answer_mask(scene, PhraseSlots(finding="nodule"))
    right, _ = answer_mask(scene, PhraseSlots(finding="nodule", side="right"))
    both, _ = answer_mask(scene, PhraseSlots(finding="nodule", side="both"))
    assert everything.sum() == both.sum() == 36
    np.testing.assert_array_equal(right, scene.findings[0].mask)
    described, unknown = answer_mask(scene, PhraseSlots(finding="nodule", attributes=("part_solid",)))
    np.testing.assert_array_equal(described, scene.findings[0].mask)
    assert unknown[scene.findings[1].mask].all()  # nobody described the real one: it may be part-solid, too


def test_what_is_not_there_is_an_empty_map_and_the_ignored_stays_unknown(scene):
    target, unknown = answer_mask(scene, PhraseSlots(finding="pleural_effusion"))
    assert not target.any()
    np.testing.assert_array_equal(unknown, scene.ignored)
    wrong_name, _ = answer_mask(scene, PhraseSlots(finding="mass"))
    assert not wrong_name.any()  # 12 mm is no mass


def test_part_solid_is_neither_ground_glass_nor_free_of_it(scene):
    target, unknown = answer_mask(scene, PhraseSlots(finding="ground_glass_opacity"))
    assert not target.any()
    assert unknown[scene.findings[0].mask].all()


def test_a_lung_is_known_only_where_lungs_are_labelled(scene):
    left, _ = answer_mask(scene, PhraseSlots(structure="lung", side="left"))
    np.testing.assert_array_equal(left, scene.lungs == LEFT)
    unlabelled = Scene(scene.volume_hu, None, scene.findings, scene.ignored, scene.offset_mm, scene.spacing_mm)
    target, unknown = answer_mask(unlabelled, PhraseSlots(structure="lung"))
    assert not target.any()
    assert unknown.all()


def test_words_mean_what_they_name(scene):
    side, _ = word_mask(scene, "side", "left")
    columns = np.flatnonzero(side.any(axis=(0, 1)))
    assert (scene.offset_mm[1] + 2.0 * columns > 0).all()  # the patient's left
    finding, _ = word_mask(scene, "finding", "nodule")
    np.testing.assert_array_equal(finding, scene.where("nodule"))
    assert word_mask(scene, "function", None) is None


def test_questions_are_of_what_is_there_of_the_wrong_side_and_of_what_is_not(scene):
    asked = [q for seed in range(12) for q in draw_questions(scene, FINDINGS, LEXICON, np.random.default_rng(seed), 8)]
    vocabulary = set(LEXICON.vocabulary)
    assert all(set(q.phrase.split()) <= vocabulary for q in asked)
    assert all(q.word < len(q.phrase.split()) for q in asked)
    found = [q for q in asked if q.target.any()]
    assert 0.2 < len(found) / len(asked) < 0.95
    assert not any(q.target[q.unknown].any() for q in asked)


def test_what_is_asked_for_more_often_is_a_matter_of_weights(scene):
    def count(weights) -> int:
        asked = [
            q
            for seed in range(40)
            for q in draw_questions(scene, FINDINGS, LEXICON, np.random.default_rng(seed), 3, weights)
        ]
        return sum("effusion" in q.phrase for q in asked)

    assert count({"pleural_effusion": 9.0}) > 1.3 * count(None) > 0
    assert count({"pleural_effusion": 0.0}) == 0


def test_a_nodule_is_told_apart_from_what_it_is_mistaken_for(scene):
    """Half of the questions about what is not there are of what looks alike."""
    findings = ("nodule", "cavity", "pneumothorax", "emphysema", "pleural_effusion")
    asked = [q for seed in range(20) for q in draw_questions(scene, findings, LEXICON, np.random.default_rng(seed), 8)]
    mistaken = sum("cavit" in q.phrase for q in asked)
    assert mistaken > 2 * sum("pneumothorax" in q.phrase for q in asked) > 0
    assert not any(q.target.any() for q in asked if "cavit" in q.phrase and "nod" not in q.phrase)


def test_every_finding_is_asked_for_before_one_that_is_not_there_comes_up_again(scene):
    findings = ("mass", "pleural_effusion", "pneumothorax", "emphysema", "cavity")
    for seed in range(6):
        asked = draw_questions(scene, findings, LEXICON, np.random.default_rng(seed), 6)
        meant = {LEXICON.parse(q.phrase).finding.id for q in asked[1:]}  # the first is about the lungs
        assert meant == set(findings)


@pytest.mark.parametrize(("share", "expected"), [(0.0, {False}), (0.5, {False, True}), (1.0, {True})])
def test_some_scenes_are_of_phantoms(share, expected):
    of_bone = replace(anatomy(), volume_hu=np.full_like(anatomy().volume_hu, 2000))
    scenes = PaintedScenes(
        [anatomy()],
        SceneSpec(shape=(2, 64, 96), strength=0.0, empty=1.0),
        SlabSpec(),
        FINDINGS,
        LEXICON,
        batch=1,
        questions=1,
        phantoms=[of_bone],
        phantom_share=share,
    )
    assert {bool(scenes.make(step).pixels[0, 1, :, 32, 48].min() == 1) for step in range(8)} == expected


def test_batches_are_the_same_whatever_came_before():
    scenes = PaintedScenes(
        [anatomy()], SceneSpec(shape=(3, 64, 96)), SlabSpec(), FINDINGS, LEXICON, batch=2, questions=3, seed=4
    )
    first, second = scenes.make(5), scenes.make(5)
    torch.testing.assert_close(first.pixels, second.pixels)
    assert first.phrases == second.phrases
    assert not torch.equal(first.pixels, scenes.make(6).pixels)
    assert first.pixels.shape == (2, 3, SlabSpec().channels, 64, 96)
    assert first.target.shape == first.known.shape == (2, 6, 3, 64, 96)
    assert len(first.phrases) == 6
    scenes.start = 5
    torch.testing.assert_close(next(iter(scenes)).pixels, first.pixels)


def test_slabs_of_the_margin_are_neighbours_and_are_not_asked_about():
    slabs, spec = SlabSpec(neighbours=2), SceneSpec(shape=(2, 64, 96), strength=0.0)
    given = ([anatomy()], spec, slabs, FINDINGS, LEXICON)
    batch = PaintedScenes(*given, batch=1, questions=3, seed=4, margin=2).make(0)
    assert batch.pixels.shape == (1, 2, slabs.channels, 64, 96)
    assert batch.target.shape == batch.known.shape == (1, 6, 2, 64, 96)
    # The first slab's upper neighbour is the second slab itself, and its lower ones are no copies of it.
    torch.testing.assert_close(batch.pixels[0, 0, 3], batch.pixels[0, 1, 2])
    wider = PaintedScenes(*given[:1], replace(spec, shape=(6, 64, 96)), *given[2:], batch=1, questions=3, seed=4)
    torch.testing.assert_close(batch.pixels[0], wider.make(0).pixels[0, 2:4])


def test_words_are_asked_for_in_some_of_the_questions():
    scenes = PaintedScenes(
        [anatomy()], SceneSpec(shape=(3, 64, 96)), SlabSpec(), FINDINGS, LEXICON, batch=2, questions=5, words=2
    )
    batch = scenes.make(1)
    assert batch.word.shape == (2, 2)
    assert batch.target.shape[:2] == (2, 7)
    firsts = [batch.phrases[0], batch.phrases[1], batch.phrases[5], batch.phrases[6]]
    assert all(word < len(phrase.split()) for word, phrase in zip(batch.word.flatten(), firsts))
