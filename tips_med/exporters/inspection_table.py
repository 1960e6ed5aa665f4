"""What a path holds, as a table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tips_med.readers import Inspection

MAX_ROWS = 40
"""Maximum number of rows in a terminal; ``--json`` has all."""


def inspection_table(found: Inspection) -> Group:
    """A row for every series or volume, then what is damaged, then what would be read and why.

    Names come from files and are shown as they are, never read as markup.
    """
    every = found.rows()
    rows = every[:MAX_ROWS]
    headings = [heading for heading in (rows[0] if rows else ()) if any(row[heading] for row in rows)]
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=11 if heading == "orientation" else None)
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    damaged = [Text(f"{problem.code}: {problem.text}") for problem in found.damaged[:MAX_ROWS]]
    hidden = len(every) - len(rows) + len(found.damaged) - len(damaged)
    more = [Text(f"and {hidden} more, in the report of --json")] if hidden else []
    return Group(
        *([table] if rows else []),
        *damaged,
        *more,
        Text(f"Would read: {found.would_read or 'nothing'}. {found.reason}"),
    )
