"""All cases as a table that sorts by any column: with a mouse or the keyboard, without network or framework."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

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

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
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

STYLE = """
.wide{overflow-x:auto}
.sortable th{padding:0;position:sticky;top:0;background:#fff;vertical-align:bottom}
.sortable button{all:unset;box-sizing:border-box;width:100%;padding:.25em .8em;font-weight:bold;white-space:nowrap}
.sortable button:hover{background:#eef;cursor:pointer}
.sortable button:focus-visible{outline:2px solid #05c;outline-offset:-2px}
.sortable th button::after{content:" \\2195";color:#767676}
.sortable th[aria-sort=ascending] button::after{content:" \\2191";color:inherit}
.sortable th[aria-sort=descending] button::after{content:" \\2193";color:inherit}
.sortable .bad{color:#a00}
"""


def cases_table(cases: Iterable[Mapping[str, Any]], pictures: Mapping[int, str]) -> str:
    """The table, to be followed by the script.

    Args:
        cases: Summaries, as ``EvaluatedRow.facts``.
        pictures: Anchor of the picture of a case on the page, by its line.
    """
    heads = "".join(
        f'<th scope="col"{_numeric(digits)}><button type="button">{title}</button></th>' for _, title, digits in COLUMNS
    )
    rows = "".join(f"<tr>{''.join(_cells(case, pictures))}</tr>" for case in cases)
    return (
        '<div class="wide"><table class="sortable"><caption class="note">Press a heading to sort by it, and again to '
        f"turn the order.</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _numeric(digits: int | None) -> str:
    return "" if digits is None else ' class="n" data-number="1"'


def _cells(case: Mapping[str, Any], pictures: Mapping[int, str]) -> Iterable[str]:
    for key, _, digits in COLUMNS:
        value = case[key]
        if digits is None:
            wrong = key == "state" and {value, case["label"]} == {"present", "absent"}
            kind = ' class="bad"' if wrong else ""
            yield f"<td{kind}>{html.escape(str(value))}</td>"
            continue
        shown = "" if value is None else f"{value:.{digits}f}"
        if key == "line" and isinstance(value, int) and value in pictures:
            shown = f'<a href="#{pictures[value]}">{shown}</a>'
        raw = "" if value is None else value
        yield f'<td class="n" data-value="{raw}">{shown}</td>'
