"""What a text is understood to mean, and what is refused."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from tips_med.errors import QueryError
from tips_med.lexicon.tokens import words_of
from tips_med.query import Lexicon, Query, Term

LEXICON = Lexicon.load("chest_ct")
SIDES = ("left", "right", "both")


def parse(text: str) -> Query:
    return LEXICON.parse(text)


def ids(query: Query) -> tuple[str | None, str | None, str | None]:
    return (
        query.finding.id if query.finding else None,
        query.structure.id if query.structure else None,
        query.side,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ground-glass opacity left lung", ("ground_glass_opacity", "lung", "left")),
        ("left lung ground glass opacities", ("ground_glass_opacity", "lung", "left")),
        ("GGO in the left lung", ("ground_glass_opacity", "lung", "left")),
        ("Mass in the LEFT lung.", ("mass", "lung", "left")),
        ("pulmonary nodule", ("nodule", "lung", None)),
        ("where is the left lung?", (None, "lung", "left")),
        ("lungs", (None, "lung", None)),
        ("both lungs", (None, "lung", "both")),
        ("bilateral pleural effusions", ("pleural_effusion", None, "both")),
        ("left and right lung nodules", ("nodule", "lung", "both")),
        ("left lung and right lung nodules", ("nodule", "lung", "both")),
        ("left/right pleural effusion", ("pleural_effusion", None, "both")),
        ("apical pneumothorax on the left", ("pneumothorax", None, "left")),
        ("effusion in the pleural space of the right base", ("pleural_effusion", "pleura", "right")),
        ("pleural effusion right lung", ("pleural_effusion", "lung", "right")),
        ("pericardial effusion", ("pericardial_effusion", None, None)),
        ("hepatic cyst", ("cyst", "liver", None)),
        ("right renal lesion", ("lesion", "kidney", "right")),
        ("R kidney lesion", ("lesion", "kidney", "right")),
        ("haemothorax", ("hemothorax", None, None)),
        ("pulmonary oedema", ("pulmonary_edema", None, None)),
        ("lung tumours", ("mass", "lung", None)),
        ("left main bronchus of the lung", (None, "bronchus", "left")),
        ("nodule in the left lung of the chest", ("nodule", "lung", "left")),
    ],
)
def test_finding_structure_and_side(text: str, expected: tuple[str | None, ...]) -> None:
    query = parse(text)

    assert ids(query) == expected
    assert query.unknown_words == ()


@pytest.mark.parametrize(
    ("text", "side", "locations"),
    [
        ("nodule LLL", "left", ["lower_lobe"]),
        ("rul nodule", "right", ["upper_lobe"]),
        ("RML nodule", "right", ["middle_lobe"]),
        ("nodule in the lingula", "left", ["lingula"]),
        ("middle lobe nodule", "right", ["middle_lobe"]),
        ("upper left lobe nodule", "left", ["upper_lobe"]),
        ("nodules in the upper and lower lobes", None, ["upper_lobe", "lower_lobe"]),
        ("RUL and RML nodules", "right", ["upper_lobe", "middle_lobe"]),
        ("left and right upper lobe nodules", "both", ["upper_lobe"]),
        ("nodule in the left upper lobe and right upper lobe", "both", ["upper_lobe"]),
        ("nodule at the apex of the left lung", "left", ["apex"]),
        ("bibasilar nodules", "both", ["base"]),
        ("nodule in the lower third of the right lung", "right", ["lower_third"]),
        ("right upper lung nodule", "right", ["upper_third"]),
        ("right upper lung zone nodule", "right", ["upper_zone"]),
    ],
)
def test_locations_of_the_lung(text: str, side: str | None, locations: list[str]) -> None:
    query = parse(text)

    assert ids(query) == ("nodule", "lung", side)
    assert [term.id for term in query.locations] == locations
    assert query.unknown_words == ()


@pytest.mark.parametrize(
    ("text", "finding", "attributes"),
    [
        ("ground-glass", "ground_glass_opacity", []),
        ("patchy ground glass", "ground_glass_opacity", ["patchy"]),
        ("ground-glass nodule", "nodule", ["ground_glass"]),
        ("GGN", "nodule", ["ground_glass"]),
        ("non-solid nodule", "nodule", ["ground_glass"]),
        ("part-solid nodule", "nodule", ["part_solid"]),
        ("large spiculated mass", "mass", ["large", "spiculated"]),
        ("mass with spiculated margins", "mass", ["spiculated"]),
        ("non-calcified nodule", "nodule", ["noncalcified"]),
        ("cavitary nodule", "nodule", ["cavitary"]),
        ("multiple small nodules", "nodule", ["multiple", "small"]),
    ],
)
def test_what_a_finding_is_like(text: str, finding: str, attributes: list[str]) -> None:
    query = parse(text)

    assert query.finding is not None
    assert query.finding.id == finding
    assert [term.id for term in query.attributes] == attributes


@pytest.mark.parametrize(
    "text",
    [
        "no pleural effusion",
        "No evidence of left pleural effusion.",
        "without pleural effusion",
        "negative for pleural effusion",
        "pleural effusion is not seen on the left",
        "pleural effusion: none",
        "not a pleural effusion",
        "w/o effusion",
        "pleural effusion isn't visible",
        "no acute pleural effusion",
        "no large, loculated pleural effusion",
        "pleural effusion: no evidence",
        "no left pleural effusion > 3.2 cm",
    ],
)
def test_negation(text: str) -> None:
    query = parse(text)

    assert query.negated
    assert not query.hedged
    assert query.finding is not None
    assert query.finding.id == "pleural_effusion"


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("possible pneumothorax", False),
        ("r/o pneumothorax", False),
        ("cannot exclude pneumothorax", False),
        ("pneumothorax cannot be excluded", False),
        ("can't rule out PTX", False),
        ("suspected pneumothorax on the left", False),
        ("pneumothorax is unlikely", True),
    ],
)
def test_hedging(text: str, negated: bool) -> None:
    query = parse(text)

    assert query.hedged
    assert query.negated == negated


@pytest.mark.parametrize("text", ["no change in nodule size", "nodule is not enlarged", "no increase in lung nodules"])
def test_a_negation_of_something_else_is_not_taken_for_one_of_the_finding(text: str) -> None:
    query = parse(text)

    assert not query.negated
    assert query.unchecked


@pytest.mark.parametrize(
    ("text", "size_mm"),
    [
        ("32 mm mass", 32.0),
        ("32mm mass", 32.0),
        ("a 32-mm mass", 32.0),
        ("mass measuring 3.2 cm", 32.0),
        ("mass 3,2 cm", 32.0),
        ("mass of 21 x 32 mm", 32.0),
        ("mass 2.1 cm \u00d7 3.24 cm", 32.4),
        ("mass, 3 cm by 21 mm", 30.0),
        ("5\u20138 mm mass", 8.0),
        ("mass of 32 millimetres", 32.0),
        ("32 mm mass (3.2 cm)", 32.0),
        ("mass", None),
    ],
)
def test_sizes(text: str, size_mm: float | None) -> None:
    query = parse(text)

    assert query.measurement_mm == size_mm
    assert query.unknown_words == ()
    assert not any(character.isdigit() for character in query.phrase)


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


def test_spans_account_for_every_word_and_words_point_to_their_span() -> None:
    query = parse("There is no definite Ground\u2013Glass opacity in the LLL, foobar (12 mm)")

    assert [(span.text, span.role, span.term_id) for span in query.spans] == [
        ("There is no", "negation", None),
        ("definite", "function", None),
        ("Ground\u2013Glass opacity", "finding", "ground_glass_opacity"),
        ("in", "function", None),
        ("the", "function", None),
        ("LLL", "location", "lower_lobe"),
        ("foobar", "unknown", None),
        ("12 mm", "measurement", None),
    ]
    assert query.understood == ("There is no", "Ground\u2013Glass opacity", "LLL", "12 mm")
    assert query.phrase == "ground glass opacity in the left lower lobe"
    assert [query.spans[word.span].text for word in query.words] == [
        *["Ground\u2013Glass opacity"] * 3,
        "in",
        "the",
        *["LLL"] * 3,
    ]


def test_a_level_apart_from_its_lobe_shares_one_span() -> None:
    query = parse("upper left lobe nodule")

    assert [span.text for span in query.spans] == ["upper left lobe", "nodule"]
    assert query.phrase == "left upper lobe nodule"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ground-glass opacity", "Ground\u2011Glass  OPACITY!"),
        ("ground-glass opacity", "\u201cground glass opacity\u201d"),
        ("left lower lobe nodule", "LLL nodule"),
        ("pulmonary edema", "pulmonary oedema"),
        ("consolidation", "con\u00adsolidation"),
        ("reflection of fluid in left lung", "re\ufb02ection of \ufb02uid in left lung"),
        ("no effusion", "effusion none"),
        ("nodule", "query nodule"),
    ],
)
def test_ways_of_writing_that_make_no_difference_to_the_phrase(one: str, other: str) -> None:
    assert parse(one).phrase == parse(other).phrase


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


WORDS = sorted(
    {*LEXICON.known_phrases, *" ".join(LEXICON.known_phrases).split(), *LEXICON.content.abbreviations}
    | {"32 mm", "foo", "non"}
)


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


def test_queries_need_no_torch() -> None:
    script = (
        "import sys; from tips_med.query import Lexicon; Lexicon.load().parse('nodule'); print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "size_mm"), [("½ cm nodule", 5.0), ("1½ cm nodule", 15.0), ("nodule of ¾ cm", 7.5), ("¼cm nodule", 2.5)]
)
def test_a_half_is_a_half(text: str, size_mm: float) -> None:
    assert LEXICON.parse(text).measurement_mm == pytest.approx(size_mm)


def test_a_fraction_with_a_slash_is_said_to_be_not_understood() -> None:
    query = LEXICON.parse("1/2 cm nodule")
    assert query.measurement_mm is None
    assert query.unknown_words


@pytest.mark.parametrize(
    "text",
    [
        "nodule on the left side of the image", "mass image right", "nodule right at the apex",
        "nodule right next to the heart", "lesion in the L-spine", "fracture of the T spine",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_side_is_none(text: str) -> None:
    assert LEXICON.parse(text).side is None


@pytest.mark.parametrize(
    "text", ["nodule 5 mm from the pleura", "mass 2 cm above the diaphragm", "nodule 3 mm deep to the pleura"]
)
def test_a_distance_is_neither_a_size_nor_a_place(text: str) -> None:
    query = LEXICON.parse(text)
    assert query.measurement_mm is None
    assert query.structure is None
    assert query.unchecked


def test_a_size_stays_one_beside_a_place() -> None:
    query = LEXICON.parse("5 mm nodule in the left lung")
    assert (query.measurement_mm, query.side) == (5.0, "left")


@pytest.mark.parametrize("text", ["pneumothorax (-)", "pneumothorax ( \u2212 )", "pneumothorax -"])
def test_a_minus_says_that_it_is_not_there(text: str) -> None:
    assert LEXICON.parse(text).negated
    assert not LEXICON.parse("ground-glass nodule").negated


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
