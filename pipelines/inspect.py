"""List what a path holds, and which series would be read."""

from __future__ import annotations

import json as jsonlib
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tips_med.readers import Inspection, inspect_path


def inspect(path: str, json: bool = False) -> Inspection:
    """Lists series, sizes, spacings, orientations and problems, and says which series would be read and why.

    Args:
        path: A folder, a DICOM file, a DICOMDIR, a zip archive, or a NIfTI, NRRD or MHA file.
        json: Write JSON instead of a table.
    """
    found = inspect_path(path)
    if json:
        jsonlib.dump(found.to_dict(), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return found
    rows = found.rows()
    table = Table()
    headings = [heading for heading in (rows[0] if rows else ()) if any(row[heading] for row in rows)]
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[heading]) for heading in headings))
    console = Console()
    console.print(table)
    for problem in found.damaged:
        console.print(f"{problem.code}: {problem.text}", markup=False)
    console.print(f"Would read: {found.would_read or 'nothing'}. {found.reason}", markup=False)
    return found
