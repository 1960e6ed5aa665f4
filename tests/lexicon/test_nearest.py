"""The nearest findings are suggested, and never used."""

import numpy as np
import pytest

from pipelines.ground import ground
from tips_med.errors import QueryError
from tips_med.lexicon.nearest import nearest_findings, sentence_encoder, with_nearest
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


def by_first_letter(texts):
    """Texts that begin alike have the same vector."""
    return np.array([[float(text[0] == letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])


def test_the_nearest_come_first_and_what_is_far_is_left_out() -> None:
    near = nearest_findings("nnn", LEXICON, count=2, embed=by_first_letter)

    assert [term.id for term in near] == ["nodule", "narrowing"]
    assert nearest_findings("?", LEXICON, embed=by_first_letter) == ()


def test_without_the_extra_words_that_are_written_alike_are_suggested(monkeypatch) -> None:
    monkeypatch.setattr("tips_med.lexicon.nearest.sentence_encoder", lambda: None)

    assert nearest_findings("laceratio", LEXICON)[0].id == "laceration"
    assert nearest_findings("xyzzy", LEXICON) == ()


def test_only_a_text_of_which_nothing_was_understood_gets_them(monkeypatch) -> None:
    monkeypatch.setattr("tips_med.lexicon.nearest.sentence_encoder", lambda: by_first_letter)
    unknown = with_nearest(QueryError("no word", code="unknown-words"), "nnn", LEXICON)
    other = QueryError("two sides", code="contradiction")

    assert "nodule" in str(unknown)
    assert with_nearest(other, "nnn", LEXICON) is other


@pytest.mark.shipped
def test_the_command_suggests_and_does_not_answer(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tips_med.lexicon.nearest.sentence_encoder", lambda: by_first_letter)
    with pytest.raises(QueryError, match="The nearest findings are nodule"):
        ground("sample", ["nnnnn"], tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
def test_the_encoder_of_the_extra_knows_what_words_mean() -> None:
    if sentence_encoder() is None:
        pytest.skip("the extra nearest is not installed")
    for text, expected in (
        ("broken rib", "fracture"),
        ("swollen glands", "lymphadenopathy"),
        ("big heart", "cardiomegaly"),
    ):
        assert nearest_findings(text, LEXICON)[0].id == expected
    assert nearest_findings("xyzzy", LEXICON) == ()
