"""Pages in one file, without network or framework, and tables in them that sort with a mouse or the keyboard."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RESEARCH_USE = "Research use only, not a medical device."

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(one => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const [one, other] = [key(a), key(b)];
      if (!one || !other) return !one - !other;  // what has no value stays at the end
      const order = head.dataset.number ? one - other : one.localeCompare(other);
      return up ? order : -order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
"""

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#1b1b1b}
table{border-collapse:collapse;margin:.6em 0 1.6em}
td,th{padding:.25em .8em;text-align:left;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%;border:1px solid #ddd}
figure{margin:0 0 2em}
.note{color:#555}
.wide{overflow-x:auto}
.sortable th{padding:0;position:sticky;top:0;background:#fff;vertical-align:bottom}
.sortable th.plain{padding:.25em .8em}
.sortable button{all:unset;box-sizing:border-box;width:100%;padding:.25em .8em;font-weight:bold;white-space:nowrap}
.sortable button:hover{background:#eef;cursor:pointer}
.sortable button:focus-visible{outline:2px solid #05c;outline-offset:-2px}
.sortable th button::after{content:" \\2195";color:#767676}
.sortable th[aria-sort=ascending] button::after{content:" \\2191";color:inherit}
.sortable th[aria-sort=descending] button::after{content:" \\2193";color:inherit}
.sortable .bad{color:#a00}
"""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Heading, plain text.
        number: Whether its values are numbers, which sort by size.
        sorts: Whether the table can be sorted by it.
    """

    title: str
    number: bool = False
    sorts: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        shown: What is shown, as HTML: text has to be escaped.
        value: What it is sorted by, where that is not the text shown; None for that.
        kind: CSS classes.
    """

    shown: str
    value: str | float | None = None
    kind: str = ""


def text_cell(text: str, kind: str = "") -> Cell:
    """A cell of plain text, escaped."""
    return Cell(html.escape(text), kind=kind)


def number_cell(value: float | None, decimals: int) -> Cell:
    """A cell of a number, rounded; empty for None, which stays at the end however the table is sorted."""
    shown = "" if value is None else f"{value:.{decimals}f}"
    return Cell(shown, "" if value is None else value, "n")


def sortable_table(columns: Sequence[Column], rows: Iterable[Iterable[Cell]], *, sorted_by: int | None = None) -> str:
    """A table whose headings sort it.

    Args:
        columns: Columns.
        rows: One cell for each column.
        sorted_by: Column that the rows come sorted by, downwards; None for none.
    """
    heads = "".join(_head(column, n == sorted_by) for n, column in enumerate(columns))
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return (
        '<div class="wide"><table class="sortable"><caption class="note">Press a heading to sort by it, and again to '
        f"turn the order.</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def page(title: str, parts: Iterable[str], *, note: str = "", style: str = "") -> str:
    """A whole page, which says what it may be used for.

    Args:
        title: Title, plain text.
        parts: Content, as HTML.
        note: Sentences after the one on its use, as HTML.
        style: Further CSS.
    """
    shown = html.escape(title)
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{shown}</title>',
            f"<style>{_STYLE}{style}</style><h1>{shown}</h1>",
            f'<p class="note">{RESEARCH_USE}{" " if note else ""}{note}</p>',
            *parts,
            f"<script>{_SCRIPT}</script></html>",
        ]
    )


def _head(column: Column, downwards: bool) -> str:
    title = html.escape(column.title)
    number = ' class="n" data-number="1"' if column.number else ""
    if not column.sorts:
        return f'<th scope="col" class="plain">{title}</th>'
    order = ' aria-sort="descending"' if downwards else ""
    return f'<th scope="col"{number}{order}><button type="button">{title}</button></th>'


def _cell(cell: Cell) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    value = "" if cell.value is None else f' data-value="{html.escape(str(cell.value))}"'
    return f"<td{kind}{value}>{cell.shown}</td>"
