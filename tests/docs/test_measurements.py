"""Tables of the documentation are those of the measurements that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.alignment.report import markdown as alignment_tables
from benchmarks.batch_throughput import archive_cost, tables
from benchmarks.curves import curve_part
from benchmarks.marked import between_marks, write_between_marks
from benchmarks.organs.__main__ import table as organs_table
from benchmarks.painted_test import markdown as painted_test_table
from benchmarks.side_by_side import table as side_by_side
from benchmarks.training_cost import markdown as cost_table
from benchmarks.trust.report import markdown as trust_table
from benchmarks.weak_signals import MARKS, markdown
from tips_med.benchmarking import CURVES
from tips_med.benchmarking.markdown import stages_markdown
from tips_med.model import load_model

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_weak_signals_is_what_was_measured():
    results = json.loads((DOCS / "measurements" / "weak_signals.json").read_text("utf-8"))
    page = (DOCS / "reports.md").read_text("utf-8")
    assert page.split(MARKS[0])[1].split(MARKS[1])[0].strip() == markdown(results)


def test_the_tables_of_batches_are_what_was_measured():
    result = json.loads((DOCS / "measurements" / "batch_throughput.json").read_text("utf-8"))
    page = (DOCS / "batch.md").read_text("utf-8")
    assert page.split("<!-- batch begins -->")[1].split("<!-- batch ends -->")[0].strip() == tables(result)


def test_the_table_of_stages_is_what_was_measured():
    cases = json.loads((DOCS / "measurements" / "stages.json").read_text("utf-8"))
    assert between_marks(DOCS / "performance.md", "stages") == stages_markdown(cases)


@pytest.mark.parametrize("name", CURVES)
def test_the_tables_of_curves_are_what_was_measured(name: str):
    measured = json.loads((DOCS / "measurements" / "curves.json").read_text("utf-8"))[name]
    assert between_marks(DOCS / "performance.md", f"curve {name}") == curve_part(name, measured)


def test_the_counts_of_altered_scans_are_those_of_the_shipped_weights():
    content = json.loads((DOCS / "measurements" / "trust.json").read_text("utf-8"))
    assert between_marks(DOCS / "trust.md", "trust") == trust_table(content)
    assert content["model"] == load_model().identity


def test_the_painted_test_is_that_of_the_shipped_weights():
    content = json.loads((DOCS / "measurements" / "painted_test.json").read_text("utf-8"))
    assert between_marks(DOCS / "model-card.md", "painted test") == painted_test_table(content)
    assert content["model"] == load_model().identity


def test_the_networks_side_by_side_are_what_was_measured():
    result = json.loads((DOCS / "measurements" / "side_by_side.json").read_text("utf-8"))
    assert between_marks(DOCS / "performance.md", "side by side") == side_by_side(result)


def test_the_table_of_a_training_step_is_what_was_measured():
    measured, told = DOCS / "measurements" / "training_cost.json", between_marks(DOCS / "training.md", "training cost")
    assert told == (cost_table(json.loads(measured.read_text("utf-8"))) if measured.exists() else "Not measured yet.")


def test_a_page_without_the_marks_is_left_as_it_is(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x begins -->\nold\n<!-- x ends -->\nb\n")
    write_between_marks(page, "x", "new")
    assert page.read_text() == "a\n<!-- x begins -->\nnew\n<!-- x ends -->\nb\n"
    with pytest.raises(SystemExit, match="lacks the marks of 'y'"):
        write_between_marks(page, "y", "new")
    assert between_marks(page, "x") == "new"


def test_the_cost_of_an_archive_is_that_of_a_study_so_many_times():
    way = "batch, a process for each core"
    cost = archive_cost({"ways": {way: {"processor_seconds": 36.0}}}, cores=100)
    assert cost["core_hours"] == 1000
    assert cost["hours"] == 10
    assert cost["queue_requests"] == 3600


@pytest.mark.parametrize("part", ["alignment", "alignment longer"])
def test_the_tables_of_alignment_are_what_was_measured_and_nothing_stands_there_before(part: str):
    measured = DOCS / "measurements" / f"{part.replace(' ', '_')}.json"
    table = between_marks(DOCS / "alignment.md", part)
    if measured.is_file():
        assert table == alignment_tables(json.loads(measured.read_text("utf-8"))).strip()
    else:
        assert table.startswith("Not run yet")


def test_the_organs_of_the_card_are_those_that_were_measured_with_the_shipped_weights():
    found = json.loads((DOCS / "measurements" / "organs.json").read_text("utf-8"))
    assert found["model"] == load_model().identity
    assert between_marks(DOCS / "model-card.md", "organs") == organs_table(found["rows"])
