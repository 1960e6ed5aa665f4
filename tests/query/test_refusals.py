"""What is refused, and what is named as not understood or not checked."""

import pytest

from tests.query.reading import LEXICON, parse
from tips_med.errors import QueryError


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("leftover nodule", ("leftover",)),
        ("upright chest", ("upright",)),
        ("nodule <5 mm", ("<",)),
        ("nodule 1,000 mm", ("1,000", "mm")),
        ("0 mm nodule", ("0 mm",)),
        ("nodule 5", ("5",)),
        ("non-spiculated mass", ("non-spiculated",)),
        ("nodule \U0001f642", ("\U0001f642",)),
    ],
)
def test_words_that_are_not_understood_are_named(text: str, unknown: tuple[str, ...]) -> None:
    query = parse(text)

    assert query.unknown_words == unknown
    assert query.side is None or "left" in text.split()
    assert query.measurement_mm is None or "5 mm" in text


def test_unknown_words_come_with_the_nearest_known_ones() -> None:
    assert dict(parse("nodulesses in the left lung").suggestions)["nodulesses"][0] == "nodules"
    assert parse("left lung qqqqqq").suggestions == ()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", "query", "the query is empty"),
        ("  \n", "query", "the query is empty"),
        ("xyzzy", "unknown-words", 'no word of .xyzzy.*Try "ground-glass opacity left lung"'),
        ("fracturings", "unknown-words", "Did you mean fractures for 'fracturings'"),
        ("the of in", "unknown-words", "no word of"),
        ("no", "unknown-words", "no word of"),
        ("42", "unknown-words", "no word of"),
        ("left", "nothing-to-find", "names no finding and no structure"),
        ("small 5 mm", "nothing-to-find", "names no finding and no structure"),
        ("nodule and effusion", "several-findings", "nodule and pleural effusion.*one query for each"),
        ("nodule in the liver and the spleen", "several-structures", "liver and spleen"),
        ("left right lung nodule", "contradiction", "the left and the right side at once"),
        ("LUL and RLL nodule", "contradiction", "the left and the right side at once"),
        ("right lower lobe of the left lung", "contradiction", "the left and the right side at once"),
        ("left middle lobe nodule", "contradiction", "which only the right side has"),
        ("right lingula", "contradiction", "which only the left side has"),
        ("middle lobe of the liver", "contradiction", "middle lobe of the liver"),
        ("upper pole of the lung nodule", "contradiction", "upper pole of the lung"),
        ("no no nodule", "double-negation", "negates twice"),
        ("no effusion is not seen", "double-negation", "negates twice"),
        ("5 mm nodule, 8 mm", "several-sizes", "2 sizes"),
        ("nodule " * 50, "query-too-long", "350 characters; expected at most 300"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(text: str, code: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        parse(text)

    assert caught.value.code == code
    assert caught.value.remedy or code == "query-too-long"


@pytest.mark.parametrize(
    ("text", "finding", "unchecked"),
    [
        ("nodule not in the left lung", "nodule", ("not in the left lung",)),
        ("nodule, not calcified", "nodule", ("not calcified",)),
        ("mass without spiculation", "mass", ("without spiculation",)),
        ("nodules in both lungs except the left apex", "nodule", ("except the left apex",)),
        ("nodule in the left lung, no right", "nodule", ("no right",)),
        ("stable nodule", "nodule", ("stable",)),
        ("CT without contrast, lung nodule", "nodule", ()),
        ("No fever. Left lung nodule", "nodule", ()),
        ("left pleural effusion, no fever", "pleural_effusion", ()),
    ],
)
def test_what_no_map_can_honour_is_told_and_not_refused(text: str, finding: str, unchecked: tuple[str, ...]) -> None:
    query = parse(text)

    assert query.finding is not None
    assert (query.finding.id, query.unchecked, query.negated) == (finding, unchecked, False)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("noduel in the left lung", (("noduel", "nodule"),)),
        ("plueral efusion", (("plueral efusion", "pleural effusion"),)),
        ("nodule in the left lung", ()),
    ],
)
def test_typing_errors_are_mended_and_told(text: str, mended: tuple[tuple[str, str], ...]) -> None:
    assert parse(text).mended == mended


@pytest.mark.parametrize("text", ["nodule in the lfet lung", "nodule in the rihgt lung", "nodule, bilatreal"])
def test_a_side_is_never_guessed(text: str) -> None:
    assert parse(text).side is None
    assert parse(text).unknown_words


def test_a_query_of_300_characters_is_taken() -> None:
    assert parse("nodule".ljust(300)).finding == LEXICON.term("nodule")
