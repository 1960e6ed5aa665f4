"""What a text says is not there, or may be."""

import pytest

from tests.query.reading import LEXICON, parse


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


@pytest.mark.parametrize("text", ["pneumothorax (-)", "pneumothorax ( \u2212 )", "pneumothorax -"])
def test_a_minus_says_that_it_is_not_there(text: str) -> None:
    assert LEXICON.parse(text).negated
    assert not LEXICON.parse("ground-glass nodule").negated
