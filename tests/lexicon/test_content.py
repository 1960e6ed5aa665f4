"""A lexicon's file is checked as it is read, and an error names the place."""

from pathlib import Path

import pytest

from tips_med.errors import ConfigError
from tips_med.lexicon import Lexicon

GOOD = """
name: brain_mr
terms:
  finding:
    infarct: {forms: [infarct | infarcts], code: {scheme: SCT, value: "1", meaning: Infarct, source: a test}}
  structure:
    brain: {forms: [brain], adjectives: [cerebral], paired: true}
  side:
    left: {forms: [left]}
  location:
    frontal_lobe: {forms: [frontal lobe], structures: [brain]}
negation: {before: ["no"]}
function: [the, in]
filler: [[please, show]]
"""


def lexicon(folder: Path, text: str) -> Lexicon:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return Lexicon.load(path)


def test_ones_own_lexicon_is_loaded_by_its_path(tmp_path: Path) -> None:
    own = lexicon(tmp_path, GOOD)

    query = own.parse("Please show no infarct in the left frontal lobe")

    assert own.name == "brain_mr"
    assert query.finding == own.term("infarct")
    assert query.structure == own.term("brain")
    assert (query.side, query.negated, query.unknown_words) == ("left", True, ())
    assert query.phrase == "infarct in the left frontal lobe"
    assert own.vocabulary == ("brain", "cerebral", "frontal", "in", "infarct", "infarcts", "left", "lobe", "the")


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (GOOD, "", "the file is 'None'"),
        (GOOD, "[1, 2]", "the file is .*expected a mapping"),
        (GOOD, "terms: {a: [}", "is not YAML"),
        ("filler:", "fillers:", "a key of the file is 'fillers'; expected some of abbreviations"),
        ("  finding:", "  findings:", "a key of terms is 'findings'; expected some of attribute, finding"),
        ("[infarct | infarcts]", "infarct", "terms.finding.infarct.forms is 'infarct'; expected a list"),
        ("[infarct | infarcts]", "[no]", "an entry of terms.finding.infarct.forms is 'False'; expected a text"),
        ("[infarct | infarcts]", "[' - ']", "terms.finding.infarct is 'without words'"),
        ("forms: [brain], adjectives: [cerebral], ", "", "terms.structure.brain is 'without words'"),
        ("paired: true", "paired: maybe", "terms.structure.brain.paired is 'maybe'; expected true or false"),
        ("paired: true", "pared: true", "a key of terms.structure.brain is 'pared'"),
        ('value: "1"', "value: 1", "terms.finding.infarct.code.value is '1'; expected a text"),
        (", source: a test", "", "terms.finding.infarct.code.source is 'None'"),
        ("structures: [brain]", "structures: [brian]", "a structure of frontal_lobe is 'brian'"),
        ("structures: [brain]", "side: top", "terms.location.frontal_lobe.side is 'top'; expected left or right"),
        ("    left:", "    brain:", "terms.side is 'brain'; expected every id once"),
        ("paired: true", "within: brain", "terms.structure.brain.within is 'brain'; expected no circle"),
        ("    left:", "    port:", "a side is 'port'; expected one of left, right, both"),
        ("{before:", "{between:", "a key of negation is 'between'; expected some of after, bare, before"),
        ("    brain:", "    skull: {forms: [brain]}\n    brain:", "'brain' stands for two terms of kind structure"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(tmp_path: Path, good: str, bad: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        lexicon(tmp_path, GOOD.replace(good, bad, 1))

    assert caught.value.code == "lexicon"


def test_a_file_that_is_not_there_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot be read"):
        Lexicon.load(tmp_path / "nowhere.yaml")

    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"binary.yaml: cannot be read"):
        Lexicon.load(tmp_path / "binary.yaml")
