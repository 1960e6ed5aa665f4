"""Answers as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tips_med.grounding import Grounding, Instance

_STYLE = {"present": "bold", "absent": "", "unsure": "italic"}
_MAX_ROWS = 5
"""Maximum number of instances shown for one query; the report has all of them."""


def answers_table(groundings: Sequence[Grounding]) -> Table:
    """One row for every instance, or one row that there is none; readable at 100 columns.

    No information is in colour alone. Text from the query is shown as typed, never read as markup.
    """
    table = Table(caption="Slices are counted from 0. Research use only, not a medical device.", caption_justify="left")
    table.add_column("Query", ratio=3, min_width=16, overflow="fold")
    table.add_column("Answer", min_width=12)
    table.add_column("Where", ratio=3, min_width=16, overflow="fold")
    table.add_column("ml", justify="right", no_wrap=True)
    table.add_column("mm", justify="right", no_wrap=True)
    table.add_column("Slices", justify="right", no_wrap=True)
    table.add_column("HU", justify="right", no_wrap=True)
    table.add_column("Score", justify="right", no_wrap=True)
    for grounding in groundings:
        cells = (_asked(grounding), _answered(grounding))
        shown = grounding.instances[:_MAX_ROWS]
        for instance in shown:
            table.add_row(*cells, *_measured(instance))
            cells = (Text(), Text())
        hidden = len(grounding.instances) - len(shown)
        if hidden:
            table.add_row(*cells, Text(f"and {hidden} more, in the report"))
        if not shown:
            table.add_row(*cells, *(Text("-") for _ in range(6)))
        table.add_section()
    return table


def _asked(grounding: Grounding) -> Text:
    query = Text(grounding.query.text)
    for typed, meant in grounding.query.mended:
        query.append(f"\nread {typed} as {meant}", style="italic")
    if grounding.query.unknown_words:
        query.append(f"\nnot understood: {', '.join(grounding.query.unknown_words)}", style="italic")
    return query


def _answered(grounding: Grounding) -> Text:
    decision = grounding.presence
    number = _number(grounding.probability, 2)
    shown = Text(
        f"{decision.state} {number if decision.calibrated else f'(score {number})'}", style=_STYLE[decision.state]
    )
    if decision.state == "unsure":
        for reason in decision.reasons[:2]:
            shown.append(f"\n{reason}", style="italic")
    if grounding.query.negated:
        holds = grounding.presence.holds
        shown.append("\nundecided" if holds is None else "\nstatement holds" if holds else "\nstatement fails")
    return shown


def _measured(instance: Instance) -> list[Text]:
    first, last = instance.slices
    rows = (
        instance.region or instance.side or "-",
        _number(instance.volume_ml, 2 if instance.volume_ml < 10 else 0),
        _number(instance.long_axis_mm, 0 if instance.long_axis_mm >= 100 else 1),
        f"{first}" if first == last else f"{first}-{last}",
        _number(instance.mean_hu, 0),
        _number(instance.score, 2),
    )
    return [Text(text) for text in rows]


def _number(value: float, decimals: int) -> str:
    """A rounded number without a minus before zero, or a dash for what was not measured."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}" if math.isfinite(value) else "-"
