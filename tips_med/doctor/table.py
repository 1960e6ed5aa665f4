"""An examination as a table for the terminal, or as text to paste."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tips_med.doctor.examination import Examination, State

_STYLES: dict[State, str] = {"ok": "green", "hint": "yellow", "missing": "dim", "fault": "bold red"}
_WORDS: dict[State, str] = {"ok": "ok", "hint": "hint", "missing": "-", "fault": "FAULT"}


def doctor_table(found: Examination) -> Group:
    """A row for each check, with its advice below it, and the verdict."""
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    topic = ""
    for check in found.checks:
        if topic and check.topic != topic:
            table.add_section()
        topic = check.topic
        state = Text(_WORDS[check.state], _STYLES[check.state])
        text = Text(check.found)
        if check.advice:
            text.append(f"\n> {check.advice}", "bold" if check.state in ("hint", "fault") else "dim")
        table.add_row(state, Text(check.name), text)
    faults = [check.name for check in found.checks if check.state == "fault"]
    verdict = f"Not usable: {', '.join(faults)}." if faults else "Usable."
    return Group(table, Text(verdict, "bold"), Text("Research use only, not a medical device."))
