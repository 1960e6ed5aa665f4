"""Tables of the documentation are those of the measurements that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.weak_signals import MARKS, markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_weak_signals_is_what_was_measured():
    results = json.loads((DOCS / "measurements" / "weak_signals.json").read_text("utf-8"))
    page = (DOCS / "reports.md").read_text("utf-8")
    assert page.split(MARKS[0])[1].split(MARKS[1])[0].strip() == markdown(results)
