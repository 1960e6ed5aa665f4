"""The parser on the test sets of language, held to the targets; the whole table is printed by benchmarks.language."""

import pytest

from benchmarks.language import FOLDER, Meaning, Tally, read_meaning, tally_reports, tally_statements
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


def whole(tallies: dict[str, Tally]) -> Tally:
    total = Tally()
    for one in tallies.values():
        for name in ("texts", "right", "meant", "said", "agreed"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return total


@pytest.mark.parametrize(("name", "least", "right"), [("statements", 280, 0.97), ("statements_held_out", 160, 0.9)])
def test_statements_are_understood(name: str, least: int, right: float) -> None:
    total = whole(tally_statements(LEXICON, FOLDER / f"{name}.txt"))

    assert total.texts >= least
    assert total.right / total.texts >= right


@pytest.mark.parametrize(("name", "least", "share"), [("reports", 40, 0.95), ("reports_held_out", 22, 0.85)])
def test_reports_are_understood(name: str, least: int, share: float) -> None:
    total = whole(tally_reports(LEXICON, FOLDER / f"{name}.txt"))

    assert total.texts >= least
    assert total.agreed / total.meant >= share, "recall"
    assert total.agreed / total.said >= share, "precision"


@pytest.mark.parametrize(
    "other",
    [
        "no nodule left at:upper_lobe 8mm",
        "nodule right at:upper_lobe 8mm",
        "nodule left at:lower_lobe 8mm",
        "nodule left at:upper_lobe 9mm",
        "mass left at:upper_lobe 8mm",
        "nodule left at:upper_lobe 8mm is:spiculated",
        "nodule left at:upper_lobe 8mm img:4",
    ],
)
def test_the_measure_tells_a_wrong_meaning_from_a_right_one(other: str) -> None:
    said = read_meaning("nodule left at:upper_lobe 8mm")
    tally = Tally()
    tally.add("right", [said], [said])
    assert tally.right == 1

    for meant, found in (([read_meaning(other)], [said]), ([said], []), ([], [said]), ([said, said], [said])):
        before = tally.right
        tally.add("wrong", meant, found)
        assert tally.right == before
    assert not Meaning("nodule").agrees(Meaning("nodule", side="left"))
