from __future__ import annotations

from pathlib import Path

import pytest

from tips_med.manifest import Row
from tips_med.manifest.statements import check_statements
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")
MASK = Path("mask.nii.gz")


def told(*rows):
    made = [
        Row(Path("ct"), phrase, MASK if mask else None, label=label, line=n)
        for n, (phrase, mask, label) in enumerate(rows, start=2)
    ]
    return {(p.line, p.code, p.fatal) for p in check_statements(made, LEXICON)}


@pytest.mark.parametrize(
    "denial",
    [
        ("mass in the left lung", False, "absent"),
        ("left lung mass", False, "absent"),
        ("tumor in the left lung", False, "absent"),
        ("no tumor", False, None),
        ("no mass in the left lung", False, None),
        ("no lesion", False, None),  # a mass is one
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_mask_and_a_denial_of_it_contradict_each_other_in_whatever_words(denial, turned):
    rows = [("mass in the left lung", True, None), denial]
    assert told(*(rows[::-1] if turned else rows)) == {(3, "contradiction", True)}


@pytest.mark.parametrize(
    "other",
    [
        ("no mass in the right lung", False, None),
        ("no nodule", False, None),
        ("no mass in the upper lobe", False, None),
        ("no calcified mass", False, None),
        ("mass in the left lung", True, "present"),
        ("mass", False, "unknown"),
    ],
)
def test_what_may_both_be_true_is_no_contradiction(other):
    assert told(("mass in the left lung", True, None), other) == set()


def test_a_denial_on_one_side_does_not_deny_a_mask_of_no_side():
    assert told(("mass", True, None), ("no mass in the left lung", False, None)) == set()


def test_an_organ_that_is_there_and_is_not():
    rows = [("left lung", True, "present"), ("left lung", False, "absent")]
    assert told(*rows) == {(3, "contradiction", True)}


def test_sentences_alone_are_warned_of():
    assert told(("mass", False, None), ("no mass", False, None)) == {(3, "contradiction", False)}


def test_scans_are_not_mixed_up():
    rows = [Row(Path("one"), "mass", MASK, line=2), Row(Path("two"), "no mass", line=3)]
    assert check_statements(rows, LEXICON) == []
