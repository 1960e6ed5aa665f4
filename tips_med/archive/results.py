"""What a search found, as a table, as JSON and as one self-contained page."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tips_med.archive.search import Found, Hit, Place
from tips_med.errors import OutputError
from tips_med.exporters.pages import RESEARCH_USE, Cell, Column, number_cell, page, sortable_table, text_cell
from tips_med.folders import whole_file

FORMAT = "tips_med-search-1"
JSON, PAGE = "search.json", "index.html"
_SHOWN_PLACES = 4
_KEY_DIGITS = 12
_STYLE = """
td img{display:block;width:220px;max-width:none}
td{vertical-align:top}
td ul{margin:0;padding-left:1.1em;min-width:17em}
code{font-size:.9em}
"""


def to_dict(found: Found, paths: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The result as JSON has it.

    Args:
        found: Result of a search.
        paths: Files of the studies by key; left out when None: a path may tell whose scan it is.
    """
    hits = []
    for rank, hit in enumerate(found.hits, start=1):
        one = {"rank": rank, **asdict(hit)}
        del one["picture"]
        if paths is not None:
            one["path"] = paths.get(hit.key)
        hits.append(one)
    return {
        "format": FORMAT,
        "use": RESEARCH_USE,
        "searched": found.searched,
        "where": found.condition,
        "model": found.model,
        "studies": found.studies,
        "certain": found.certain,
        "hits": hits,
    }


def write_results(found: Found, out: Path, paths: Mapping[str, str] | None = None) -> tuple[Path, Path]:
    """Writes ``search.json`` and ``index.html`` into a folder; an earlier result in it is replaced.

    Raises:
        OutputError: They cannot be written there, or the folder holds other files.
    """
    check_place(out)
    texts = {JSON: json.dumps(to_dict(found, paths), indent=1, allow_nan=False), PAGE: results_page(found, paths)}
    try:
        for name, text in texts.items():
            with whole_file(out / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=out) from error
    return out / JSON, out / PAGE


def check_place(out: Path) -> None:
    """Makes sure that a folder is new, empty, or holds an earlier result.

    Raises:
        OutputError: ``not-ours``.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / JSON).is_file())):
        raise OutputError("holds other files", path=out, expected="a new or empty folder", code="not-ours")


def results_page(found: Found, paths: Mapping[str, str] | None = None) -> str:
    """The page: one row a scan, pictures inside it."""
    alike = all(hit.state is None and hit.verified for hit in found.hits) and bool(found.hits)
    columns = [
        Column("rank", number=True),
        Column("slice", sorts=False),
        Column("study"),
        *([] if alike else [Column("answer")]),
        Column("cosine" if alike else "probability", number=True),
        Column("where", sorts=False),
        Column("ml alike, about" if alike else "ml", number=True),
        Column("scan"),
    ]
    condition = f" where <code>{html.escape(found.condition)}</code>" if found.condition else ""
    parts = [
        f"<p>{len(found.hits)} of {found.studies} studies{condition}, by {html.escape(found.model)}. "
        f"{html.escape(note_of(found))}</p>",
        sortable_table(columns, (_cells(n, hit, alike, paths) for n, hit in enumerate(found.hits, start=1))),
    ]
    return page(f"Search: {found.searched}", parts, note="Slices are counted from 0.", style=_STYLE)


def note_of(found: Found) -> str:
    """What a reader has to know of how the studies were chosen."""
    unasked = sum(not hit.verified for hit in found.hits)
    notes = ["Studies are named by keyed hashes."]
    if unasked:
        notes.append(f"{unasked} of the hits could not be asked themselves, and are shown as the index has them.")
    if not found.certain:
        notes.append("Studies that were not opened may fit better: the index ranks them by an estimate.")
    return " ".join(notes)


def _cells(rank: int, hit: Hit, alike: bool, paths: Mapping[str, str] | None) -> Iterator[Cell]:
    yield number_cell(rank, 0)
    picture = ""
    if hit.picture is not None:
        data = base64.b64encode(hit.picture).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="slice of {hit.key[:_KEY_DIGITS]}">'
    yield Cell(picture)
    name = f"<code>{hit.key[:_KEY_DIGITS]}</code>"
    if paths is not None and hit.key in paths:
        name += f"<br>{html.escape(paths[hit.key])}"
    yield Cell(name, hit.key)
    if not alike:
        yield text_cell(_state(hit))
    yield number_cell(hit.score, 3)
    shown = [f"<li>{html.escape(place_text(place))}</li>" for place in hit.places[:_SHOWN_PLACES]]
    if len(hit.places) > _SHOWN_PLACES:
        shown.append(f"<li>and {len(hit.places) - _SHOWN_PLACES} more</li>")
    yield Cell(f"<ul>{''.join(shown)}</ul>" if shown else html.escape(", ".join(hit.reasons)))
    yield number_cell(_volume(hit), 0 if alike else 2)
    year = "" if hit.year is None else f" of {hit.year}"
    yield text_cell(f"{hit.modality}{year}, {hit.slices} slices every {hit.thickness_mm:.3g} mm")


def place_text(place: Place) -> str:
    """One place in words: what, where, how large, and in which slices."""
    parts = [place.region or place.side or "side not known"]
    if place.finding:
        parts.insert(0, place.finding)
    coarse = place.slices is None and place.long_axis_mm is None  # of patches, not of a mask
    volume = f"{place.volume_ml:.0f} ml" if place.volume_ml >= 10 or coarse else f"{place.volume_ml:.2f} ml"
    parts.append(f"about {volume} of it alike" if coarse else volume)
    if place.long_axis_mm is not None:
        parts.append(f"{place.long_axis_mm:.0f} mm")
    if place.slices is not None:
        first, last = place.slices
        parts.append(f"slice {first}" if first == last else f"slices {first} to {last}")
    x, y, z = place.peak_lps
    parts.append(f"at {x:.0f}, {y:.0f}, {z:.0f} mm")
    return ", ".join(parts)


def results_table(found: Found, paths: Mapping[str, str] | None = None) -> Table:
    """The table for the terminal: one row a place, the scan in the first."""
    table = Table(caption=f"{note_of(found)} Slices are counted from 0. {RESEARCH_USE}", caption_justify="left")
    for title, side in (("#", "right"), ("Study", "left"), ("Answer", "left"), ("Where", "left"), ("ml", "right")):
        table.add_column(title, justify=side, overflow="fold", min_width=len(title))  # type: ignore[arg-type]
    for title in ("mm", "Slices", "Peak, LPS mm"):
        table.add_column(title, justify="right", no_wrap=True)
    for rank, hit in enumerate(found.hits, start=1):
        name = hit.key[:_KEY_DIGITS]
        if paths is not None and hit.key in paths:
            name += f"\n{paths[hit.key]}"
        cells = [str(rank), name, f"{_state(hit)} {hit.score:.2f}".strip()]
        for place in hit.places[:_SHOWN_PLACES]:
            table.add_row(*(Text(text) for text in (*cells, *_measured(place))))
            cells = ["", "", ""]
        if len(hit.places) > _SHOWN_PLACES:
            table.add_row("", "", "", f"and {len(hit.places) - _SHOWN_PLACES} more")
        if not hit.places:
            table.add_row(*(Text(text) for text in (*cells, ", ".join(hit.reasons) or "-", "", "", "", "")))
        table.add_section()
    return table


def _measured(place: Place) -> list[str]:
    first, last = place.slices or (None, None)
    slices = "" if first is None else f"{first}" if first == last else f"{first}-{last}"
    where = ": ".join(part for part in (place.finding, place.region or place.side) if part)
    return [
        where or "-",
        f"{place.volume_ml:.2f}" if place.volume_ml < 10 else f"{place.volume_ml:.0f}",
        "" if place.long_axis_mm is None else f"{place.long_axis_mm:.0f}",
        slices,
        ", ".join(f"{value:.0f}" for value in place.peak_lps),
    ]


def _state(hit: Hit) -> str:
    return hit.state or ("" if hit.verified else "not asked")


def _volume(hit: Hit) -> float | None:
    own = [place.volume_ml for place in hit.places if not place.finding]
    return sum(own) if own else None
