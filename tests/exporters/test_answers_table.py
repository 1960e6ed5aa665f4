"""The table says the whole answer in 100 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.exporters.patient import make_grounding, make_scan, with_text
from tips_med.exporters.answers_table import answers_table
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


def test_numbers_are_rounded_as_they_are_read() -> None:
    grounding = make_grounding()
    (one,) = grounding.instances
    for change, expected in [
        ({"volume_ml": 9.994, "long_axis_mm": 99.94, "mean_hu": -0.4}, ["9.99", "99.9", "15-19", "0", "0.90"]),
        ({"volume_ml": 10.0, "long_axis_mm": 100.0, "slices": (7, 7)}, ["10", "100", "7", "30", "0.90"]),
        ({"mean_hu": float("nan"), "score": float("nan")}, [f"{one.volume_ml:.2f}", "18.0", "15-19", "-", "-"]),
    ]:
        rows = cells(shown(replace(grounding, instances=(replace(one, **change),))))
        assert [row[3:] for row in rows if row[3]] == [expected]


def test_columns_are_named_and_numbers_stand_to_the_right() -> None:
    text = shown(make_grounding(second=True))
    heading = next(line for line in text.splitlines() if "Query" in line)
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == [
        *("Query", "Answer", "Where", "ml", "mm", "Slices", "HU", "Score")
    ]
    row = next(line for line in text.splitlines() if "12.0" in line)
    for cell in row.split("│")[4:-1]:
        assert cell.endswith(" ") and not cell.endswith("  "), cell
    assert "Slices are counted from 0." in text


def test_more_than_five_instances_are_counted() -> None:
    grounding = make_grounding()
    text = shown(replace(grounding, instances=grounding.instances * 8))
    assert sum(row[3] != "" for row in cells(text)) == 5
    assert "and 3 more, in the report" in " ".join(" ".join(row[2] for row in cells(text)).split())
    assert "more" not in shown(replace(grounding, instances=grounding.instances * 5))


def test_a_score_is_said_to_be_one_and_an_unsure_answer_says_why() -> None:
    grounding = make_grounding(state="unsure")
    presence = replace(grounding.presence, probability=None, reasons=("gap", "side-unknown", "uncalibrated"))
    rows = cells(shown(replace(grounding, presence=presence)))
    assert [row[1] for row in rows if row[1]] == ["unsure (score 0.50)", "gap", "side-unknown"]
    assert [row[2:] for row in rows if row[2]] == [["-"] * 6]


def test_a_piece_without_a_region_is_placed_by_its_side() -> None:
    grounding = make_grounding()
    (one,) = grounding.instances
    for region, side, said in (("", "left", "left"), ("", None, "-")):
        rows = cells(shown(replace(grounding, instances=(replace(one, region=region, side=side),))))
        assert rows[0][2] == said
