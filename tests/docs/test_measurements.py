"""Tables of the documentation are those of the measurements that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.batch_throughput import archive_cost, tables
from benchmarks.weak_signals import MARKS, markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_weak_signals_is_what_was_measured():
    results = json.loads((DOCS / "measurements" / "weak_signals.json").read_text("utf-8"))
    page = (DOCS / "reports.md").read_text("utf-8")
    assert page.split(MARKS[0])[1].split(MARKS[1])[0].strip() == markdown(results)


def test_the_tables_of_batches_are_what_was_measured():
    result = json.loads((DOCS / "measurements" / "batch_throughput.json").read_text("utf-8"))
    page = (DOCS / "batch.md").read_text("utf-8")
    assert page.split("<!-- batch begins -->")[1].split("<!-- batch ends -->")[0].strip() == tables(result)


def test_the_cost_of_an_archive_is_that_of_a_study_so_many_times():
    way = "batch, a process for each core"
    cost = archive_cost({"ways": {way: {"processor_seconds": 36.0}}}, cores=100)
    assert cost["core_hours"] == 1000
    assert cost["hours"] == 10
    assert cost["queue_requests"] == 3600
