"""Several questions in one text, and counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.query.reading import LEXICON, WORDS, ids
from tips_med.errors import QueryError


def meanings(text: str) -> list[tuple[str | None, str | None, str | None, str]]:
    return [(*ids(query), query.state) for query in LEXICON.parse_each(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "nodule or ground-glass opacity, right lung",
            [("nodule", "lung", "right", "present"), ("ground_glass_opacity", "lung", "right", "present")],
        ),
        ("mass with adjacent effusion", [("mass", None, None, "present"), ("pleural_effusion", None, None, "present")]),
        (
            "No effusion, but possible pneumothorax on the left",
            [("pleural_effusion", None, None, "absent"), ("pneumothorax", None, "left", "possible")],
        ),
        ("LUL and RLL nodule", [("nodule", "lung", "left", "present"), ("nodule", "lung", "right", "present")]),
        ("nodule in the left lung", [("nodule", "lung", "left", "present")]),
    ],
)
def test_one_text_may_be_several_questions(
    text: str, expected: list[tuple[str | None, str | None, str | None, str]]
) -> None:
    assert meanings(text) == expected


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14), st.sampled_from([" ", ", ", " and ", "; ", ". "]))
def test_each_of_several_questions_has_spans_of_its_own_text(words: list[str], joint: str) -> None:
    text = joint.join(words)
    try:
        queries = LEXICON.parse_each(text, limit=None)
    except QueryError as error:
        assert str(error)
        return
    for query in queries:
        assert query.source is not None
        assert 0 <= query.source[0] < query.source[1] <= len(text)
        assert all(span.text == query.text[span.start : span.end] for span in query.spans)
        assert query.phrase
        assert {word.text for word in query.words} <= set(LEXICON.vocabulary)


@pytest.mark.parametrize(
    ("text", "count", "unknown"),
    [
        ("two bullae", 2, ()),
        ("2 bullae", 2, ()),
        ("At least 3 small nodules in the right lung", 3, ()),
        ("2 mm nodules", None, ()),
        ("2 nodule", None, ("2",)),
    ],
)
def test_a_number_before_a_plural_is_a_count(text: str, count: int | None, unknown: tuple[str, ...]) -> None:
    query = LEXICON.parse(text)
    assert (query.count, query.unknown_words) == (count, unknown)
