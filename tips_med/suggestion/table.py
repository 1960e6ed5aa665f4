"""Suggestions as a table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from tips_med.suggestion.run import Suggestions


def suggestions_table(found: Suggestions) -> Table:
    """One row a scan, with where to look first. Names are shown as they are, never read as markup."""
    caption = (
        f"{len(found.chosen)} of {found.candidates} unlabelled scan(s), beside {found.labelled} labelled one(s). "
        "Slices are counted from 0. Research use only, not a medical device."
    )
    table = Table(caption=caption, caption_justify="left")
    table.add_column("", justify="right")
    table.add_column("Scan", ratio=3, overflow="fold")
    table.add_column("Why", ratio=3, overflow="fold")
    table.add_column("Look first at", ratio=2, overflow="fold")
    table.add_column("Priority", justify="right", no_wrap=True)
    for rank, one in enumerate(found.chosen, start=1):
        look = "\n".join(f"{phrase.phrase}: slice {k}" for phrase, k in zip(one.phrases[:3], one.slices))
        path = f"{one.path}\n{one.scan.series}" if one.scan.series else str(one.path)
        table.add_row(str(rank), Text(path), Text(one.why), Text(look or "-"), f"{one.selected.priority:.2f}")
    return table
