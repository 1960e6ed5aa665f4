"""The terms of the lexicon: forms, abbreviations, held-out synonyms, codes."""

import subprocess
import sys

import pytest
from pydicom.sr.codedict import codes

from tests.query.reading import LEXICON, SIDES, parse
from tips_med.lexicon.tokens import words_of
from tips_med.query import Term


@pytest.mark.parametrize("term", LEXICON.terms, ids=lambda term: term.id)
def test_every_form_of_every_term_is_understood_as_that_term(term: Term) -> None:
    for form in term.forms:
        # A side, a place or a look needs something to belong to; "ground-glass" by itself is a finding.
        text = form.text if term.kind in ("finding", "structure") else f"{form.text} nodule"
        assert (term.kind, term.id) in {(span.role, span.term_id) for span in parse(text).spans}, form.text
        assert not parse(text).unknown_words


def test_abbreviations_and_spellings_stand_for_known_words() -> None:
    content, known = LEXICON.content, set(" ".join(LEXICON.known_phrases).split())
    forms = {form.words for term in LEXICON.terms for form in term.forms}
    for table in (content.abbreviations, content.spelling, content.readings):
        for other, full in table.items():
            assert set(words_of(full)) <= known, other
            assert table is content.readings or not set(words_of(other)) <= set(LEXICON.vocabulary), other
            assert words_of(other) not in forms, other


def test_the_vocabulary_is_that_of_a_small_text_tower() -> None:
    vocabulary = LEXICON.vocabulary

    assert 300 <= len(vocabulary) <= 700
    assert list(vocabulary) == sorted(set(vocabulary))
    assert all(word == word.lower() and word.isalpha() for word in vocabulary)
    assert {"ground", "glass", "left", "lobes", "in"} <= set(vocabulary)
    assert {"ggo", "lll", "no", "possible", "oedema"}.isdisjoint(vocabulary)


def test_held_out_synonyms_are_made_of_words_that_other_forms_teach() -> None:
    taught = {word for term in LEXICON.terms for form in term.forms if not form.held_out for word in form.words}
    held_out = {word for term in LEXICON.terms for form in term.forms if form.held_out for word in form.words}

    assert held_out
    assert held_out <= taught


@pytest.mark.parametrize(
    ("text", "said", "part"),
    [
        ("pleural air collection", "pneumothorax", "pleural air collection"),
        ("rounded opacities in the left lung", "nodules in the left lung", "rounded opacities"),
        ("left mass-like opacity", "left mass", "mass-like opacity"),
    ],
)
def test_synonyms_that_training_never_saw_are_said_in_usual_words(text: str, said: str, part: str) -> None:
    query = LEXICON.parse(text)

    assert query.phrase == said
    assert query.finding == LEXICON.parse(said).finding
    assert query.understood.count(part) == 1
    assert part.replace("-", " ") in LEXICON.parse(text, as_written=True).phrase


@pytest.mark.parametrize("term", [term for term in LEXICON.terms if term.code], ids=lambda term: term.id)
def test_codes_are_in_the_dicom_context_group_that_they_name(term: Term) -> None:
    assert term.code is not None
    source, _, number = term.code.source.rpartition(" ")
    group = getattr(codes, f"CID{number}")

    assert source == "DICOM PS3.16 CID"
    assert (term.code.scheme, term.code.value, term.code.meaning) in {
        (concept.scheme_designator, concept.value, concept.meaning)
        for keyword in group.dir()
        for concept in [getattr(group, keyword)]
    }


def test_ground_glass_and_the_sides_have_the_codes_that_matter_most() -> None:
    def code(term_id: str) -> tuple[str, str]:
        term_code = LEXICON.term(term_id).code
        assert term_code is not None
        return term_code.scheme, term_code.value

    assert code("ground_glass_opacity") == ("DCM", "112120")
    assert code("lung") == ("SCT", "39607008")
    assert [code(side)[1] for side in SIDES] == ["7771000", "24028007", "51440002"]
    assert "50196008" not in {term.code.value for term in LEXICON.terms if term.code}


def test_queries_need_no_torch() -> None:
    script = (
        "import sys; from tips_med.query import Lexicon; Lexicon.load().parse('nodule'); print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"
