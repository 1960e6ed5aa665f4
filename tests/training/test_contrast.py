from __future__ import annotations

import torch

from tips_med.training.contrast import contrast_loss, pooled_scores, relations
from tips_med.training.studies import PhraseLabel


def said(phrase, finding, label="present", mask=None):
    return PhraseLabel(phrase, phrase, label, mask, finding)


MASS = said("mass in the left lung", "mass")
EFFUSION = said("pleural effusion", "pleural_effusion")
HEART = said("heart", "")


def test_a_sentence_is_of_its_own_study_and_not_of_another():
    table = relations([((MASS,), True), ((EFFUSION,), True)], [[MASS.phrase], [EFFUSION.phrase]])
    assert table.tolist() == [[1, -1], [-1, 1]]


def test_identical_phrases_are_one_and_right_for_all_that_say_them():
    table = relations([((MASS, EFFUSION), True), ((MASS,), True)], [[MASS.phrase, EFFUSION.phrase], [MASS.phrase] * 2])
    assert table.tolist() == [[1, 1, 0, 0], [1, -1, 0, 0]]


def test_the_same_finding_in_other_words_is_no_false_negative():
    other = said("large mass", "mass")
    table = relations([((MASS,), True), ((other,), True)], [[MASS.phrase], [other.phrase]])
    assert table.tolist() == [[1, 0], [0, 1]]


def test_normal_statements_teach_nothing_between_studies():
    """A heart is in every chest; that there is no effusion is said by most reports, and is learned as an empty map."""
    nothing = said("pleural effusion", "pleural_effusion", "absent")
    table = relations([((HEART,), True), ((nothing,), True)], [[HEART.phrase], [nothing.phrase]])
    assert not table.any()


def test_a_study_that_denies_it_is_a_wrong_one():
    nothing = said("pleural effusion", "pleural_effusion", "absent")
    table = relations([((EFFUSION,), True), ((nothing,), True)], [[EFFUSION.phrase], [nothing.phrase]])
    assert table.tolist() == [[1, 0], [-1, 0]]


def test_a_crop_of_a_part_says_nothing_and_outlined_phrases_are_no_weak_pairs():
    table = relations([((MASS,), False), ((EFFUSION,), True)], [[MASS.phrase], [EFFUSION.phrase]])
    assert table.tolist() == [[0, 0], [0, 1]]
    outlined = said("mass", "mass", mask=0)
    assert not relations([((outlined,), True), ((EFFUSION,), False)], [["mass"], [EFFUSION.phrase]]).any()


def test_a_map_is_pooled_where_the_phrase_lights_up():
    logits = torch.full((1, 2, 4, 4), -5.0)
    logits[0, 1, 2, 2] = 8.0
    assert pooled_scores(logits).item() > 7.5
    assert pooled_scores(torch.full((1, 2, 4, 4), -5.0)).item() < -4.9


def test_right_pairs_cost_little_and_wrong_ones_much_and_sentences_of_a_study_do_not_compete():
    relation = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    right = contrast_loss(8 * relation, relation)
    assert right < 1e-3 < 5 < contrast_loss(-8 * relation, relation)
    # One sentence with a far higher score than its neighbour does not push it down.
    uneven = 8 * relation
    uneven[0, 1] = 40
    assert contrast_loss(uneven, relation) < 1e-3


def test_without_a_wrong_pair_there_is_nothing_to_learn_and_no_undefined_gradient():
    for relation in (torch.ones(1, 2), torch.zeros(2, 2), -torch.ones(2, 2)):
        scores = torch.zeros_like(relation, requires_grad=True)
        loss = contrast_loss(scores, relation)
        loss.backward()
        assert loss == 0
        assert scores.grad.abs().max() == 0


def test_unknown_pairs_have_no_gradient():
    relation = torch.tensor([[1.0, -1.0], [-1.0, 0.0]])
    scores = torch.zeros(2, 2, requires_grad=True)
    contrast_loss(scores, relation).backward()
    assert scores.grad[1, 1] == 0
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]
