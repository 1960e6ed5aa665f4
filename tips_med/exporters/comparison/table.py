"""Comparisons as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tips_med.followup import Change, Comparison
from tips_med.followup.wording import ORDER, number, signed

_STYLE = {"new": "bold", "grown": "bold", "gone": "", "shrunk": "", "stable": "", "unsure": "italic"}
_MAX_ROWS = 12
"""Maximum number of findings shown for one query; the report has all of them."""


def comparisons_table(comparisons: Sequence[Comparison], days_between: int | None = None) -> Table:
    """One row for every finding, or one row that there is none; readable at 100 columns.

    No information is in colour alone. Text from the query is shown as typed, never read as markup.
    """
    quality = comparisons[0].registration.quality
    apart = "" if days_between is None else f"{days_between} days apart. "
    caption = (
        f"{apart}Registration: {'good' if quality.good else 'poor'}, fine structure of the lungs correlates by "
        f"{quality.correlation:.2f}. Limits: 95%, of repeat noise alone. Research use only, not a medical device."
    )
    table = Table(caption=caption, caption_justify="left")
    table.add_column("Query", ratio=2, min_width=14, overflow="fold")
    table.add_column("No.", justify="right", no_wrap=True)
    table.add_column("Change", min_width=10, ratio=2)
    table.add_column("Where", ratio=3, min_width=14, overflow="fold")
    table.add_column("Prior ml", justify="right", no_wrap=True)
    table.add_column("Now ml", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("95% limits", justify="right", no_wrap=True)
    for one in comparisons:
        query = Text(one.query.text)
        ordered = sorted(one.changes, key=lambda change: ORDER.index(change.status))
        for change in ordered[:_MAX_ROWS]:
            table.add_row(query, *_cells(change))
            query = Text()
        if len(ordered) > _MAX_ROWS:
            table.add_row(query, Text(), Text(f"and {len(ordered) - _MAX_ROWS} more, in the report"))
        if not ordered:
            states = f"prior {one.prior.presence.state}\nnow {one.current.presence.state}"
            table.add_row(query, Text("-"), Text(states, style="italic"), *(Text("-") for _ in range(5)))
        table.add_section()
    return table


def _cells(change: Change) -> list[Text]:
    status = Text(change.status, style=_STYLE[change.status])
    for reason in change.reasons[:2]:
        status.append(f"\n{reason}", style="italic")
    cells = [Text(str(change.number)), status, Text(change.region or "-")]
    cells += [
        Text(number(sum(one.volume_ml for one in some)) if some else "-") for some in (change.prior, change.current)
    ]
    if change.volume is None:
        return [*cells, Text("-"), Text("-")]
    low, high = change.volume.change_percent_limits
    return [*cells, Text(signed(change.volume.change_percent)), Text(f"{signed(low)} to {signed(high)}")]
