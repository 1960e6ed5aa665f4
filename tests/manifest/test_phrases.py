from __future__ import annotations

import pytest

from tips_med.manifest import other_finding, other_level, other_side
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
