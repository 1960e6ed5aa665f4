from __future__ import annotations

import pytest

from tips_med.manifest import OTHER_FINDINGS, other_finding, other_level, other_side
from tips_med.manifest.phrases import OTHER_ATTRIBUTES, OTHER_STRUCTURES, other_attribute, other_structure
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("GGO in the left lung", "ground glass opacity in the right lung"),
        ("right-sided pleural effusion", "left sided pleural effusion"),
        ("nodule RUL", "nodule left upper lobe"),
        ("nodule in the right middle lobe", None),  # which the left lung does not have
        ("nodule in the lingula", None),
        ("bilateral consolidation", None),
        ("mass", None),
    ],
)
def test_the_mirror_image_of_a_phrase(text, mirrored):
    assert other_side(LEXICON.parse(text), LEXICON) == mirrored


def test_twice_mirrored_is_the_phrase_itself():
    query = LEXICON.parse("mass in the left lower lobe")
    assert other_side(LEXICON.parse(other_side(query, LEXICON)), LEXICON) == query.phrase


def test_levels_and_findings_are_exchanged_alone():
    query = LEXICON.parse("mass in the left upper lobe")
    assert other_level(query, LEXICON) == "mass in the left lower lobe"
    assert other_finding(query, "consolidation", LEXICON) == "consolidation in the left upper lobe"
    assert other_finding(query, "mass", LEXICON) is None
    assert other_level(LEXICON.parse("left lung"), LEXICON) is None


@pytest.mark.parametrize(
    ("text", "other", "swapped"),
    [
        ("mass in the liver", "lung", "mass in the lung"),
        ("mass in the left lung", "liver", "mass in the liver"),  # which has no side
        ("cyst in the left kidney", "lung", "cyst in the left lung"),
        ("mass in the left upper lobe", "liver", None),  # which only a lung has
        ("mass", "liver", None),
        ("mass in the liver", "liver", None),
    ],
)
def test_the_organ_is_exchanged_with_its_side(text, other, swapped):
    assert other_structure(LEXICON.parse(text), other, LEXICON) == swapped


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("solid nodule in the left lung", "ground glass nodule in the left lung"),
        ("small mass", "large mass"),
        ("mass in the left lung", None),
        ("spiculated nodule", "well defined nodule"),
    ],
)
def test_an_attribute_is_exchanged_with_what_cannot_be_true_as_well(text, swapped):
    assert other_attribute(LEXICON.parse(text), LEXICON) == swapped


def test_every_exchange_names_terms_of_the_lexicon():
    for table in (OTHER_FINDINGS, OTHER_STRUCTURES, OTHER_ATTRIBUTES):
        for term, other in table.items():
            assert LEXICON.term(term).kind == LEXICON.term(other).kind
