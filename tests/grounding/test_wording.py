from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from tips_med.grounding import Decision, Instance, Reason
from tips_med.grounding.wording import REASONS, place_in_words, subject_of, write_sentence
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
        ("RUL", "right upper lobe"),
        ("lower lobes of both lungs", "both lower lobes"),
        ("upper third of the left lung", "upper third of the left lung"),
        ("nodule", "nodule"),
        ("spiculated mass left upper lobe", "spiculated mass in the left upper lobe"),
    ],
)
def test_an_answer_says_in_plain_words_what_was_asked(query, subject):
    assert subject_of(LEXICON.parse(query)) == subject


def instance(label: int, volume_ml: float, long_axis_mm: float = 12.4, region: str = "lower third of the left lung"):
    place = (0.0, 0.0, 0.0)
    return Instance(label, "left", region, volume_ml, long_axis_mm, (3, 7), (), -300.0, 0.9, place, place)


@pytest.mark.parametrize(
    ("lobes", "words"),
    [
        ((), "lower third of the left lung"),
        (("left lower lobe",), "lower third of the left lung (left lower lobe by estimate)"),
        (("left upper lobe", "left lower lobe"), "lower third of the left lung"),
        (("right upper lobe", "right middle lobe"), "lower third of the left lung (right upper or middle lobe by "
         "estimate)"),
        (("right lower lobe", "left lower lobe"), "lower third of the left lung (right lower lobe and left lower lobe "
         "by estimate)"),
        (("right lower lobe", "left upper lobe", "left lower lobe"), "lower third of the left lung"),
    ],
)  # fmt: skip
def test_a_lobe_is_named_where_it_says_more_than_the_side(lobes, words):
    assert place_in_words(replace(instance(1, 1.0), lobes=lobes)) == words


def said(query: str, decision: Decision, *instances: Instance, others: tuple[Instance, ...] = ()) -> str:
    return write_sentence(LEXICON.parse(query), decision, instances, others)


PRESENT, ABSENT = Decision("present", 0.8, 0.91), Decision("absent", 0.1, 0.04)


def unsure(*reasons: Reason, probability: float | None = 0.5, seen: float = 1.0) -> Decision:
    return Decision("unsure", 0.45, probability, assessed_fraction=seen, reasons=reasons)


@pytest.mark.parametrize(
    ("query", "decision", "instances", "words"),
    [
        (
            "mass in the left lung",
            PRESENT,
            [instance(1, 1.23)],
            "Mass in the left lung: present (probability 0.91) in the lower third of the left lung, 1.2 ml, long axis "
            "12 mm, slices 3 to 7.",
        ),
        (
            "mass",
            PRESENT,
            [replace(instance(1, 1.23), lobes=("left lower lobe",))],
            "Mass: present (probability 0.91) in the lower third of the left lung (left lower lobe by estimate), 1.2 "
            "ml, long axis 12 mm, slices 3 to 7.",
        ),
        (
            "mass",
            PRESENT,
            [instance(1, 12.34), instance(2, 0.456)],
            "Mass: present (probability 0.91), 2 places, 12.8 ml in all; surest in the lower third of the left lung, "
            "12.3 ml, long axis 12 mm, slices 3 to 7.",
        ),
        (
            "mass",
            PRESENT,
            [instance(1, 0.456, region="")],
            "Mass: present (probability 0.91), 0.46 ml, long axis 12 mm, slices 3 to 7.",
        ),
        (
            "left lung",
            PRESENT,
            [instance(1, 1999.6), instance(2, 1)],
            "Left lung: present (probability 0.91), 2001 ml, slices 3 to 7.",
        ),
        ("mass", PRESENT, [], "Mass: present (probability 0.91), not outlined."),
        ("mass", ABSENT, [], "Mass: not found (probability 0.04)."),
        ("mass", Decision("absent", 0.1, None), [], "Mass: not found (score 0.10)."),
        ("mass", unsure("no-lung-seen"), [], "Mass: cannot be judged, no lung is seen in this scan."),
        (
            "mass",
            unsure("between-thresholds", "gap"),
            [],
            "Mass: unsure (probability 0.50), not outlined. Not decided: the evidence is weak either way and slices "
            "are missing in the searched region.",
        ),
        (
            "mass",
            unsure("uncalibrated", probability=None),
            [],
            "Mass: unsure (score 0.45), not outlined. Not decided: this model's score for it has not been calibrated.",
        ),
        (
            "mass",
            unsure("outside-field-of-view", "gap", seen=0.6),
            [],
            "Mass: unsure (probability 0.50), not outlined. Not decided: about 60% of the searched region lies in the "
            "scan and about 60% of the searched region was measured, slices are missing.",
        ),
        (
            "mass",
            unsure("outside-field-of-view", seen=0.0),
            [],
            "Mass: unsure (probability 0.50), not outlined. Not decided: the searched region is not in the scan.",
        ),
        ("8 mm nodule", unsure("size-mismatch"), [], "Nodule: none of 8 mm, not outlined. Not decided: nothing of the "
         "requested size."),
        (
            "no mass",
            replace(ABSENT, holds=True),
            [],
            "Mass: not found (probability 0.04). The statement 'no mass' holds.",
        ),
        (
            "no mass",
            replace(PRESENT, holds=False),
            [instance(1, 150.4)],
            "Mass: present (probability 0.91) in the lower third of the left lung, 150 ml, long axis 12 mm, slices 3 "
            "to 7. The statement 'no mass' does not hold.",
        ),
        (
            "bilateral masses",
            replace(ABSENT, reasons=("one-side-only",), sides={"right": ABSENT, "left": PRESENT}),
            [instance(1, 1.0)],
            "Mass on both sides: not on both sides in the lower third of the left lung, 1.0 ml, long axis 12 mm, "
            "slices 3 to 7. By side: right not found (probability 0.04), left present (probability 0.91).",
        ),
        (
            "bilateral masses",
            replace(PRESENT, sides={"right": PRESENT, "left": PRESENT}),
            [],
            "Mass on both sides: present (probability 0.91), not outlined.",
        ),
        (
            "mass in the left upper lobe",
            replace(PRESENT, reasons=("height-by-estimate",)),
            [],
            "Mass in the left upper lobe: present (probability 0.91), not outlined. The upper lobe was taken by height "
            "in the lung, not by its fissures.",
        ),
        (
            "mass in the left upper lobe",
            replace(PRESENT, reasons=("lobe-by-estimate",)),
            [],
            "Mass in the left upper lobe: present (probability 0.91), not outlined. The upper lobe was estimated from "
            "the lung's shape (mean fissures of five lungs), not from its own fissures.",
        ),
        (
            "mass in the upper and lower lobes",
            replace(PRESENT, reasons=("lobe-by-estimate", "height-by-estimate")),
            [],
            "Mass in the upper lobe and lower lobe: present (probability 0.91), not outlined. The upper lobe and lower "
            "lobe were estimated from the lung's shape (mean fissures of five lungs), not from its own fissures. In a "
            "lung that the scan does not show whole, the upper lobe and lower lobe were taken by height in the lung, "
            "not by its fissures.",
        ),
        (
            "calcified mass in the right hilum",
            PRESENT,
            [],
            "Calcified mass in the right lung: present (probability 0.91), not outlined. Hilum and calcified were not "
            "checked.",
        ),
        ("mass in the right hilum", ABSENT, [], "Mass in the right lung: not found (probability 0.04)."),
        (
            "likely spiculated mass",
            PRESENT,
            [],
            "Spiculated mass: present (probability 0.91), not outlined. 'likely' was left out.",
        ),
        (
            "nodul along the right hemidiaphragm, stable",
            PRESENT,
            [],
            "Read 'nodul' as 'nodule'. Nodule on the right: present (probability 0.91), not outlined. "
            "Whether it is near the diaphragm was not checked. 'stable' was not checked.",
        ),
        (
            "massssy in lung frobnicated",
            PRESENT,
            [],
            "Not understood: 'massssy', 'frobnicated'; answered without it. Lung: present "
            "(probability 0.91), not outlined.",
        ),
    ],
)  # fmt: skip
def test_the_whole_answer_is_said_in_words(query, decision, instances, words):
    assert said(query, decision, *instances) == words


def test_what_is_there_of_another_size_is_said():
    others = tuple(instance(n, 1.0, 10.0 * n) for n in (1, 2, 3, 4))
    assert said("8 mm nodule", unsure("size-mismatch"), others=others).startswith(
        "Nodule: none of 8 mm, not outlined. Of another size than requested: 4 of 10, 20 and 30 mm."
    )


def test_every_reason_has_words():
    assert set(REASONS) == set(get_args(Reason))
