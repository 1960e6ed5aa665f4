"""The cohort as one page: counts, and a row with a picture for each answer, which sort by any column."""

from __future__ import annotations

import base64
import heapq
import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tips_med.batch.folder import BatchFolder
from tips_med.batch.settings import BatchSettings
from tips_med.discovery import Refusal
from tips_med.errors import OutputError
from tips_med.exporters.folder import REPORT
from tips_med.exporters.pages import Cell, Column, number_cell, page, sortable_table, text_cell
from tips_med.exporters.thumbnail import FILE as THUMBNAIL
from tips_med.folders import whole_file
from tips_med.grounding.wording import REASONS

PAGE = "index.html"
_Answer = tuple[Mapping[str, Any], str, str]
"""A row of the table, the folder of its study, and that of the answer in it."""

_STATES = ("present", "unsure", "absent")
_COLUMNS = (
    Column("picture", sorts=False),
    Column("study"),
    Column("query"),
    Column("answer"),
    Column("probability", number=True),
    Column("ml", number=True),
    Column("where"),
    Column("slice", number=True),
    Column("image", number=True),
    Column("reasons"),
    Column("seconds", number=True),
)
_STYLE = """
body{max-width:1400px}
.sortable td{vertical-align:middle}
.sortable img{display:block;width:176px;max-width:none;border:0;background:#000}
.sortable .study{font:12px/1.3 ui-monospace,monospace}
.sortable .present{font-weight:bold}
.sortable .unsure{font-style:italic}
.sortable .reasons{font-size:13px;color:#555;max-width:22em}
"""


def write_page(
    records: Iterable[Mapping[str, Any]],
    refused: Sequence[Refusal],
    folder: BatchFolder,
    settings: BatchSettings,
    rows: int,
) -> Path:
    """Writes ``index.html``, with all pictures in it.

    Nothing on it tells whose a scan is: studies have their keys, and no path is named.

    Args:
        records: Records of the studies; gone through once, one by one.
        refused: What was not answered.
        folder: Folder of the batch.
        settings: Settings of the batch.
        rows: Largest number of rows with pictures; the answers that are likeliest to be present come first.

    Raises:
        OutputError: It cannot be written.
    """
    counted: dict[str, Counter[str]] = {}
    studies: set[str] = set()

    def answers() -> Iterator[_Answer]:
        for record in records:
            studies.add(record["study"])
            for answer, name in zip(record["answers"], record["folders"], strict=True):
                counted.setdefault(answer["query"], Counter())[answer["answer"]] += 1
                yield answer, folder.place(record["study"]).relative_to(folder.root).as_posix(), name

    shown = heapq.nsmallest(max(rows, 1), answers(), key=lambda one: _order(one[0]))[:rows]
    total = sum(states.total() for states in counted.values())
    parts = [
        f"<p>Scans answered: {len(studies)}. Not answered: {len(refused)}. Model: {html.escape(settings.model)} "
        f"({settings.weights_sha256[:12]}), tips_med {settings.version}.</p>",
        _counts(counted),
        "<h2>Answers</h2>",
    ]
    if len(shown) < total:
        parts.append(
            f"<p>The {len(shown)} of {total} answers that are likeliest to be present; "
            "<code>answers.csv</code> has all of them.</p>"
        )
    cells = (_cells(answer, place, name, folder.root) for answer, place, name in shown)
    parts.append(sortable_table(_COLUMNS, cells, filter_id="answers"))
    parts += _left_out(refused)
    note = (
        "Pictures are axial, seen from the feet: the patient's right, R, is on the left. The blue line is what was "
        "marked; an orange cross is the strongest evidence where nothing was. Slices are counted from 0; image is the "
        "Instance Number of that slice, by which a PACS counts."
    )
    path = folder.root / PAGE
    try:
        with whole_file(path) as partial:
            partial.write_text(page("Cohort", parts, note=note, style=_STYLE), "utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=path, code="not-writable") from error
    return path


def _order(answer: Mapping[str, Any]) -> tuple[int, float, str, str]:
    likely = answer["probability"] if answer["probability"] is not None else answer["score"]
    return _STATES.index(answer["answer"]), -(likely or 0.0), answer["study"], answer["query"]


def _counts(counted: Mapping[str, Mapping[str, int]]) -> str:
    rows = ""
    for query, states in sorted(counted.items()):
        numbers = "".join(f'<td class="n">{states[state]}</td>' for state in _STATES)
        rows += f"<tr><td>{html.escape(query)}</td>{numbers}</tr>"
    heads = "".join(f'<th class="n">{state}</th>' for state in _STATES)
    return f"<table><tr><th>query</th>{heads}</tr>{rows}</table>"


def _cells(answer: Mapping[str, Any], place: str, name: str, root: Path) -> Iterable[Cell]:
    picture = _picture(root / place / name / THUMBNAIL, answer)
    whole = f"{place}/{name}/figure.png"
    yield Cell(f'<a href="{whole}">{picture}</a>' if (root / whole).is_file() else picture)
    link = f'<a href="{place}/{REPORT}">{html.escape(answer["study"])}</a>'
    yield Cell(link, answer["study"], "study")
    yield text_cell(answer["query"])
    yield text_cell(_answer(answer), answer["answer"])
    yield number_cell(answer["probability"], 2)
    yield number_cell(answer["volume_ml"] or None, 1 if (answer["volume_ml"] or 0) >= 10 else 2)
    yield text_cell(answer["region"] or answer["side"])
    yield number_cell(answer["peak_slice"], 0)
    yield number_cell(answer["peak_instance_number"], 0)
    reasons = [str(REASONS.get(code, code)) for code in answer["reasons"].split(";") if code]  # type: ignore[call-overload]
    yield text_cell("; ".join(reasons), "reasons")
    yield number_cell(answer["study_seconds"], 1)


def _answer(answer: Mapping[str, Any]) -> str:
    """The state, which is that of the finding, and for a negated query whether its statement holds."""
    if answer["holds"] is None:
        return answer["answer"]
    return f"{answer['answer']}: statement {'holds' if answer['holds'] else 'fails'}"


def _picture(file: Path, answer: Mapping[str, Any]) -> str:
    try:
        content = base64.b64encode(file.read_bytes()).decode("ascii")
    except OSError:
        return ""
    about = html.escape(f"{answer['query']}: {answer['answer']}")
    return f'<img src="data:image/jpeg;base64,{content}" alt="{about}">'


def _left_out(refused: Sequence[Refusal]) -> list[str]:
    if not refused:
        return []
    examples: dict[str, Refusal] = {}
    for one in refused:
        examples.setdefault(one.code, one)
    rows = (
        [text_cell(code), number_cell(count, 0), text_cell(examples[code].found), text_cell(examples[code].remedy)]
        for code, count in Counter(one.code for one in refused).most_common()
    )
    columns = (Column("code"), Column("number", number=True), Column("such as"), Column("remedy"))
    return [
        "<h2>Not answered</h2>",
        "<p><code>refused.csv</code> names each file.</p>",
        sortable_table(columns, rows),
    ]
