"""What a path holds, as a table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tips_med.readers import Inspection


def inspection_table(found: Inspection) -> Group:
    """A row for every series or volume, then what is damaged, then what would be read and why.

    Names come from files and are shown as they are, never read as markup.
    """
    rows = found.rows()
    headings = [heading for heading in (rows[0] if rows else ()) if any(row[heading] for row in rows)]
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=11 if heading == "orientation" else None)
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    damaged = [Text(f"{problem.code}: {problem.text}") for problem in found.damaged]
    return Group(
        *([table] if rows else []), *damaged, Text(f"Would read: {found.would_read or 'nothing'}. {found.reason}")
    )
