"""Any text is understood or refused."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.query.reading import LEXICON, WORDS, parse
from tips_med.errors import QueryError


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=320))
@example("\u0130\u0130\u0130 left lung")
@example("\ufb03" * 10 + " nodule \u00df")
@example("no\x00dule\u2028left lung")
@example("1 x 1 x 1 x 1 mm nodule")
@example("upper upper / and lobe lobe")
@example("upper left")
def test_any_text_is_understood_or_refused_and_nothing_is_lost(text: str) -> None:
    _check(text)


@settings(deadline=None, derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.sampled_from([" ", "-", ", ", "/", ": "]))
def test_any_words_in_any_order_are_understood_or_refused_and_nothing_is_lost(words: list[str], joint: str) -> None:
    _check(joint.join(words))


def _check(text: str) -> None:
    try:
        query = parse(text)
    except QueryError as error:
        assert str(error)
        return
    assert query.text == text
    end = 0
    for span in query.spans:
        assert end <= span.start < span.end
        assert span.text == text[span.start : span.end]
        assert not any(character.isalnum() for character in text[end : span.start])
        end = span.end
    assert not any(character.isalnum() for character in text[end:])
    assert query.phrase
    assert {word.text for word in query.words} <= set(LEXICON.vocabulary)
    assert all(0 <= word.span < len(query.spans) for word in query.words)
