from __future__ import annotations

import pytest

from tips_med.grounding.wording import subject_of
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


@pytest.mark.parametrize(
    ("query", "subject"),
    [
        ("mass in the left lung", "mass in the left lung"),
        ("GGO LLL", "ground-glass opacity in the left lower lobe"),
        ("left pleural effusion", "pleural effusion on the left"),
        ("bilateral pleural effusions", "pleural effusion on both sides"),
        ("left lung", "left lung"),
        ("nodule", "nodule"),
        ("spiculated mass left upper lobe", "spiculated mass in the left upper lobe"),
    ],
)
def test_an_answer_says_in_plain_words_what_was_asked(query, subject):
    assert subject_of(LEXICON.parse(query)) == subject
