"""The evaluation as JSON and as a page with pictures of the best and the worst cases."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tips_med.errors import OutputError
from tips_med.evaluation.meanings import meaning_of
from tips_med.evaluation.run import Evaluation
from tips_med.evaluation.suite import EvaluatedRow
from tips_med.folders import whole_file

FORMAT = "tips_med-evaluation-1"
JSON, PAGE, PICTURES = "evaluation.json", "index.html", "cases"

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#1b1b1b}
table{border-collapse:collapse;margin:.6em 0 1.6em}
td,th{padding:.25em .8em;text-align:left;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%;border:1px solid #ddd}
figure{margin:0 0 2em}
.note{color:#555}
"""


class Gallery:
    """Pictures of the best and the worst cases by Dice, drawn as they come; other pictures are deleted.

    Args:
        folder: Folder for the pictures.
        each: Number of best cases, and of worst ones, 0 or more.

    Raises:
        MissingExtraError: When matplotlib is not installed and pictures are requested.
    """

    def __init__(self, folder: Path, each: int = 3) -> None:
        if each:
            import_module("tips_med.exporters.figure")  # a missing matplotlib is reported now, not after the work
        self.folder, self.each = folder, each
        self.shown: list[tuple[float, str, dict[str, Any]]] = []

    def add(self, case: EvaluatedRow) -> None:
        """Draws a case that is among the best or the worst so far; cases without an outlined finding are left out."""
        from tips_med.exporters.figure import write_figure

        value = case.dice
        if value is None or case.truth is None or not case.truth.any() or not self.each:
            return
        entry = (value, f"line-{case.line}.png", case.facts())
        kept = sorted([*self.shown, entry], key=lambda one: one[0])
        if len(kept) > 2 * self.each:
            kept = kept[: self.each] + kept[-self.each :]
        if entry in kept:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_figure(case.grounding, self.folder / entry[1], case.truth)
        for gone in self.shown:
            if gone not in kept:
                (self.folder / gone[1]).unlink(missing_ok=True)
        self.shown = kept

    def best_and_worst(self) -> tuple[list[tuple[float, str, dict[str, Any]]], list[tuple[float, str, dict[str, Any]]]]:
        """The worst, the lowest first, and the best, the highest first; no case is in both."""
        middle = min(self.each, len(self.shown) // 2)
        return self.shown[: len(self.shown) - middle][: self.each], self.shown[::-1][:middle]


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
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation of {e(evaluation.model)}</title>',
        f"<style>{_STYLE}</style><h1>Evaluation of {e(evaluation.model)}</h1>",
        '<p class="note">Research use only, not a medical device. Intervals are 95% percentile bootstrap intervals '
        "over patients.</p>",
        f"<p>{e(str(about.get('manifest', '')))}, split {e(str(about.get('split', '')))}: "
        f"{len(evaluation.cases)} rows answered, {len(evaluation.skipped)} left out.</p>",
    ]
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
    if gallery is not None:
        worst, best = gallery.best_and_worst()
        for title, some in (("Worst cases", worst), ("Best cases", best)):
            if some:
                parts.append(f"<h2>{title}</h2>")
                parts += [_figure(value, name, facts) for value, name, facts in some]
    if evaluation.skipped:
        parts.append("<h2>Left out</h2><ul>")
        parts += [f"<li>Line {one['line']}: {e(one['text'])}</li>" for one in evaluation.skipped]
        parts.append("</ul>")
    return "\n".join([*parts, "</html>"])


def _figure(value: float, name: str, facts: dict[str, Any]) -> str:
    phrase = html.escape(facts["phrase"])
    caption = f"Line {facts['line']}, {html.escape(facts['scan'])}: {phrase}, Dice {value:.3f}"
    picture = f'<img src="{PICTURES}/{html.escape(name)}" alt="the answer to {phrase}">'
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def _interval(values: Mapping[str, float | int | None]) -> str:
    return "-" if values["low"] is None else f"{_number(values['low'])} to {_number(values['high'])}"


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}"
