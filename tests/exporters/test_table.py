"""The table says the whole answer in 100 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.exporters.patient import make_grounding, make_scan, with_text
from tips_med.exporters.table import answers_table
from tips_med.grounding import Grounding


def shown(*groundings: Grounding, width: int = 100, **options: object) -> str:
    """What a terminal shows."""
    out = io.StringIO()
    Console(file=out, width=width, **options).print(answers_table(groundings))  # type: ignore[arg-type]
    return out.getvalue()


def cells(text: str) -> list[list[str]]:
    """The cells of every line."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_every_instance_has_its_row() -> None:
    grounding = make_grounding(second=True)
    rows = cells(shown(grounding))
    measured = [row[3:] for row in rows if row[3]]
    assert measured == [
        [f"{grounding.instances[0].volume_ml:.2f}", "18.0", "15-19", "30", "0.90"],
        [f"{grounding.instances[1].volume_ml:.2f}", "12.0", "7-8", "-850", "0.45"],
    ]
    assert " ".join(row[2] for row in rows).startswith("middle third of the left lung")
    assert [row[1] for row in rows if row[1]] == ["present 0.93"]


def test_it_fits_and_nothing_is_cut() -> None:
    scan = make_scan()
    query = "multiple spiculated nodules in the upper lobe of the left lung and zorp"
    long = replace(make_grounding(scan, "nodule in the left lung zorp", second=True))
    text = shown(with_text(long, query), make_grounding(scan, "no nodule", state="absent"))
    assert max(len(line) for line in text.splitlines()) <= 100
    rows = cells(text)
    first = " ".join(row[0] for row in rows if row[0])
    assert first.startswith(f"{query} not understood: zorp")
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "Research use only, not a medical device." in text


@pytest.mark.parametrize(
    ("holds", "said"), [(True, "statement holds"), (False, "statement fails"), (None, "undecided")]
)
def test_negation_is_answered(holds: bool | None, said: str) -> None:
    grounding = make_grounding(text="no nodule in the left lung", state="absent")
    text = shown(replace(grounding, presence=replace(grounding.presence, holds=holds)))
    assert "absent 0.04" in text
    assert said in text


def test_text_is_no_markup() -> None:
    assert "[red]nodule[/red]" in shown(with_text(make_grounding(), "[red]nodule[/red]"))


def test_what_was_not_measured_is_a_dash() -> None:
    grounding = make_grounding()
    instance = replace(grounding.instances[0], mean_hu=float("nan"), volume_ml=250.4, long_axis_mm=0.04, slices=(3, 3))
    row = next(row for row in cells(shown(replace(grounding, instances=(instance,)))) if row[3])
    assert row[3:] == ["250", "0.0", "3", "-", "0.90"]


def test_small_negative_means_are_not_minus_zero() -> None:
    grounding = make_grounding()
    instance = replace(grounding.instances[0], mean_hu=-0.3)
    row = next(row for row in cells(shown(replace(grounding, instances=(instance,)))) if row[3])
    assert row[6] == "0"


def test_long_lists_end_with_how_many_are_left() -> None:
    grounding = make_grounding()
    many = tuple(replace(grounding.instances[0], label=n) for n in range(1, 13))
    text = " ".join(row[2] for row in cells(shown(replace(grounding, instances=many))))
    assert "and 7 more, in the report" in text
