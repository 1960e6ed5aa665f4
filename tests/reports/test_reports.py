"""Reports become statements, and nothing of a person gets into them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.language import FOLDER, read_reports
from tips_med.query import Lexicon
from tips_med.reports import cover, read_report, split_sections, split_sentences
from tips_med.reports.proposals import propose, write_proposals

LEXICON = Lexicon.load("chest_ct")
REPORTS = [text for name in ("reports", "reports_held_out") for _, text, _ in read_reports(FOLDER / f"{name}.txt")]


def phrases(text: str) -> list[str]:
    return [one.phrase for one in read_report(text, LEXICON).statements]


def test_only_what_is_about_the_scan_is_read() -> None:
    text = "INDICATION: Rule out pneumonia.\nTECHNIQUE: CT.\nFINDINGS: Nodule.\nIMPRESSION: Left effusion."

    assert [(one.kind, text[one.start : one.end].strip()) for one in split_sections(text)] == [
        ("other", "Rule out pneumonia."),
        ("other", "CT."),
        ("findings", "Nodule."),
        ("impression", "Left effusion."),
    ]
    assert phrases(text) == ["nodule", "pleural effusion left"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A nodule. A mass.", ["A nodule.", "A mass."]),
        ("1. A nodule of 1.2 cm.\n2. A mass.", ["A nodule of 1.2 cm.", "A mass."]),
        ("- nodule\n- mass", ["nodule", "mass"]),
        ("Seen by Dr. Reyes today. No mass.", ["Seen by Dr. Reyes today.", "No mass."]),
        ("approx. 5 mm nodule", ["approx. 5 mm nodule"]),
        (
            "There is a spiculated mass in the left upper lobe of the lung which measures\n4 cm.",
            ["There is a spiculated mass in the left upper lobe of the lung which measures\n4 cm."],
        ),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[one.start : one.end] for one in split_sentences(text)] == sentences


def test_a_statement_knows_where_it_stands_and_what_it_cites() -> None:
    text = "FINDINGS: No mass. 6 mm nodule in the lingula (series 3, image 142)."
    mass, nodule = read_report(text, LEXICON).statements

    assert text[mass.start : mass.end] == "No mass."
    assert text[nodule.start : nodule.end].startswith("6 mm nodule in the lingula")
    assert (nodule.query.cited[0].series, nodule.query.cited[0].images) == (3, (142,))
    assert nodule.phrase == "6 mm nodule left lingula"


@pytest.mark.parametrize("text", REPORTS, ids=range(len(REPORTS)))
def test_a_phrase_is_made_of_words_of_the_lexicon_alone(text: str) -> None:
    known = {word for phrase in LEXICON.known_phrases for word in phrase.split()} | {
        "history",
        "near",
        "possible",
        "mm",
    }
    for phrase in phrases(text):
        assert set(re.findall(r"[a-z]+", phrase.lower())) <= known
        assert not re.search(
            r"\d", re.sub(r"^(?:no |possible |history of )?[\d.]+ mm ", "", phrase).replace("segment ", "")
        )


def test_no_name_date_or_number_of_a_patient_is_in_a_phrase() -> None:
    text = (
        "Name: Margaret Whitfield\nMRN: 00482913\nDOB: 12/05/1951\nAccession: A9938271\n"
        "Mrs. Whitfield of Ashby Road was seen on 12 March 2022; nodule in the left lung, Finch 00482913, 12/05/1951."
    )
    assert phrases(text) == ["nodule left lung"]


def test_unknown_words_of_one_report_alone_are_not_told() -> None:
    reports = [
        read_report(f"Nodule with {words} borders.", LEXICON) for words in ("zonky", "zonky", "ashcroft", "Marlow")
    ]
    coverage = cover(reports)

    assert coverage.unknown == {"zonky": 2}
    assert (coverage.reports, coverage.sentences, coverage.used) == (4, 4, 4)


def test_proposals_are_comments_in_a_lexicon_that_loads(tmp_path) -> None:
    reports = [read_report("Zonky lesion has glassous zonky borders.", LEXICON)] * 2
    path = write_proposals(propose(cover(reports), LEXICON), LEXICON, tmp_path / "own.yaml")

    assert "zonky: {forms: [zonky]}  # in 2 reports" in path.read_text()
    assert Lexicon.load(path).parse("left lung nodule") == LEXICON.parse("left lung nodule")


def test_a_lexicon_extends_another_one(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: chest_ct\nreadings: {zonk: nodule}\nterms: {finding: {blip: {forms: [blip | blips]}}}\n")
    own = Lexicon.load(path)

    assert own.parse("zonk in the left lung").finding == own.term("nodule")
    assert own.parse("two blips").finding == own.term("blip")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    report = read_report(text, LEXICON)
    assert 0 <= report.used <= report.sentences
    assert all(0 <= one.start <= one.end <= len(text) for one in report.statements)


PIECES = sorted({*LEXICON.known_phrases, "8 mm", "series 3, image 142", "3/4/2020", "foo", "5th", "FINDINGS:", "\n- "})


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25), st.sampled_from([" ", ", ", ". ", "\n", ": ", " ("]))
def test_any_words_of_reports_can_be_read(words: list[str], joint: str) -> None:
    for one in read_report(joint.join(words), LEXICON).statements:
        assert one.phrase
