"""What a path holds is shown row by row, and what is hidden is counted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tips_med.exporters.inspection_table import MAX_ROWS, inspection_table
from tips_med.readers import Inspection
from tips_med.readers.inspection import ReadingProblem


class Found(Inspection):
    """Has rows that are given, and problems."""

    def __init__(self, rows: int, damaged: int, would_read: str | None = "series 1") -> None:
        problems = tuple(ReadingProblem("damaged", f"file {n} [red]") for n in range(damaged))
        super().__init__("path", (), would_read, "It is the largest.", damaged=problems)
        object.__setattr__(self, "given", rows)

    def rows(self) -> list[dict[str, str]]:
        return [
            {"series": f"series {n}", "orientation": "axial" if n == 0 else "", "empty": ""} for n in range(self.given)
        ]


def shown(found: Found) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(inspection_table(found))
    return out.getvalue()


def test_headings_without_content_are_left_out_and_text_is_no_markup() -> None:
    text = shown(Found(2, 1))
    assert "series 0" in text and "series 1" in text and "axial" in text
    assert "orientation" in text and "empty" not in text
    assert "damaged: file 0 [red]" in text
    assert text.rstrip().endswith("Would read: series 1. It is the largest.")
    assert "more, in the report" not in text


@pytest.mark.parametrize(
    ("rows", "damaged", "hidden"), [(MAX_ROWS, MAX_ROWS, 0), (MAX_ROWS + 2, 1, 2), (1, MAX_ROWS + 3, 3), (43, 44, 7)]
)
def test_what_is_hidden_is_counted(rows: int, damaged: int, hidden: int) -> None:
    text = shown(Found(rows, damaged))
    assert (f"and {hidden} more, in the report of --json" in text) is (hidden > 0)
    assert f"series {min(rows, MAX_ROWS) - 1} " in text
    assert (f"series {MAX_ROWS} " in text) is False


def test_nothing_is_said_to_be_nothing() -> None:
    assert shown(Found(0, 0, None)).strip() == "Would read: nothing. It is the largest."
