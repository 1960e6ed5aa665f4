"""All cases of an evaluation as a table that sorts by any column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tips_med.exporters.pages import Cell, Column, number_cell, sortable_table, text_cell

COLUMNS: tuple[tuple[str, str, int | None], ...] = (
    ("line", "line", 0),
    ("scan", "case", None),
    ("phrase", "phrase", None),
    ("term", "term", None),
    ("label", "truth", None),
    ("state", "answer", None),
    ("probability", "probability", 3),
    ("dice", "Dice", 3),
    ("marked_ml", "marked, ml", 1),
    ("truth_ml", "outlined, ml", 1),
)
"""Keys of ``EvaluatedRow.facts``, with the heading and the decimals of numbers."""


def cases_table(cases: Iterable[Mapping[str, Any]], pictures: Mapping[int, str]) -> str:
    """The table.

    Args:
        cases: Summaries, as ``EvaluatedRow.facts``.
        pictures: Anchor of the picture of a case on the page, by its line.
    """
    columns = [Column(title, digits is not None) for _, title, digits in COLUMNS]
    return sortable_table(columns, (_cells(case, pictures) for case in cases))


def _cells(case: Mapping[str, Any], pictures: Mapping[int, str]) -> Iterable[Cell]:
    for key, _, digits in COLUMNS:
        value = case[key]
        if digits is None:
            wrong = key == "state" and {value, case["label"]} == {"present", "absent"}
            yield text_cell(str(value), "bad" if wrong else "")
            continue
        cell = number_cell(value, digits)
        if key == "line" and isinstance(value, int) and value in pictures:
            cell = replace(cell, shown=f'<a href="#{pictures[value]}">{cell.shown}</a>')
        yield cell
