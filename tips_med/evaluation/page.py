"""The evaluation as JSON and as a page: measures, pictures of cases, and a table of all of them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tips_med.errors import OutputError
from tips_med.evaluation.cases_table import cases_table
from tips_med.evaluation.gallery import Gallery, Picture
from tips_med.evaluation.meanings import meaning_of
from tips_med.evaluation.run import Evaluation
from tips_med.exporters.pages import page
from tips_med.folders import whole_file

FORMAT = "tips_med-evaluation-1"
JSON, PAGE, PICTURES = "evaluation.json", "index.html", "cases"

_CASES, _LEFT_OUT = "All cases", "Left out"


def check_place(out: Path) -> None:
    """Makes sure that a folder is new, empty, or holds an earlier evaluation.

    Raises:
        OutputError: It is not.
    """
    try:
        if out.exists() and any(out.iterdir()) and not (out / JSON).is_file():
            raise OutputError("holds other files", path=out, expected="a new or empty folder", code="not-ours")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written to ({error})", path=out) from error


def write_evaluation(
    evaluation: Evaluation, out: Path, about: Mapping[str, Any], gallery: Gallery | None = None
) -> tuple[Path, Path]:
    """Writes ``evaluation.json`` and ``index.html``.

    Args:
        evaluation: Results to write.
        out: Folder to write to.
        about: Description of the input: name, hash and split of the manifest, card of the model.
        gallery: Pictures, already in ``out/cases``.

    Raises:
        OutputError: They cannot be written there.
    """
    content = {
        "format": FORMAT,
        **about,
        "model": evaluation.model,
        "overall": evaluation.overall,
        "terms": evaluation.terms,
        "cases": list(evaluation.cases),
        "skipped": list(evaluation.skipped),
    }
    try:
        written = []
        for name, text in (
            (JSON, json.dumps(content, indent=1, allow_nan=False)),
            (PAGE, _page(evaluation, about, gallery)),
        ):
            with whole_file(out / name) as partial:
                partial.write_text(text, encoding="utf-8")
            written.append(out / name)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=out) from error
    return written[0], written[1]


def _page(evaluation: Evaluation, about: Mapping[str, Any], gallery: Gallery | None) -> str:
    e = html.escape
    parts = [
        f"<p>{e(str(about.get('manifest', '')))}, split {e(str(about.get('split', '')))}: "
        f"{len(evaluation.cases)} rows answered, {len(evaluation.skipped)} left out.</p>",
    ]
    worth_a_look = (
        []
        if gallery is None
        else [
            (title, some)
            for title, some in (
                ("Worst cases", gallery.worst()),
                ("False positives", gallery.false_positives()),
                ("Best cases", gallery.best()),
            )
            if some
        ]
    )
    titles = [*(title for title, _ in worth_a_look), _CASES, *([_LEFT_OUT] if evaluation.skipped else [])]
    links = [f'<a href="#{_id(title)}">{title}</a>' for title in titles]
    parts.append(f"<nav>{' · '.join(links)}</nav>")
    for title, values in (("All", evaluation.overall), *evaluation.terms.items()):
        rows = "".join(
            f'<tr><td>{e(name)}</td><td class="n">{_number(v["value"])}</td>'
            f'<td class="n">{_interval(v)}</td><td class="n">{v["cases"]}</td>'
            f'<td class="note">{e(meaning_of(name))}</td></tr>'
            for name, v in values.items()
        )
        parts.append(
            f'<h2>{e(title)}</h2><table><tr><th>measure</th><th class="n">value</th>'
            f'<th class="n">95% interval</th><th class="n">cases</th><th>meaning</th></tr>{rows}</table>'
        )
    pictures: dict[int, str] = {}
    for title, some in worth_a_look:
        parts.append(_heading(title))
        parts += [_figure(picture) for picture in some]
        pictures |= {picture.facts["line"]: _anchor(picture) for picture in some}
    parts += [_heading(_CASES), cases_table(evaluation.cases, pictures)]
    if evaluation.skipped:
        parts.append(f"{_heading(_LEFT_OUT)}<ul>")
        parts += [f"<li>Line {one['line']}: {e(one['text'])}</li>" for one in evaluation.skipped]
        parts.append("</ul>")
    note = "Intervals are 95% percentile bootstrap intervals over patients."
    return page(f"Evaluation of {evaluation.model}", parts, note=note)


def _heading(title: str) -> str:
    return f'<h2 id="{_id(title)}">{title}</h2>'


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _figure(picture: Picture) -> str:
    facts = picture.facts
    phrase = html.escape(facts["phrase"])
    value = f"Dice {picture.value:.3f}" if picture.kind == "outlined" else "not there"
    caption = (
        f"Line {facts['line']}, {html.escape(facts['scan'])}: {phrase}, {value}, {facts['marked_ml']:.1f} ml marked, "
        f"answer {facts['state']}"
    )
    image = f'<img src="{PICTURES}/{html.escape(picture.file)}" alt="the answer to {phrase}">'
    return f'<figure id="{_anchor(picture)}"><figcaption>{caption}</figcaption>{image}</figure>'


def _anchor(picture: Picture) -> str:
    return f"line-{picture.facts['line']}"


def _interval(values: Mapping[str, float | int | None]) -> str:
    return "-" if values["low"] is None else f"{_number(values['low'])} to {_number(values['high'])}"


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}"
