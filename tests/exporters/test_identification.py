"""What is at a place: JSON that is plain, and a table that hides nothing."""

from __future__ import annotations

import json

from rich.console import Console

from tests.exporters.patient import ask
from tips_med.exporters.identification import identification_entry, identification_table
from tips_med.grounding import Fit, Identification


def found() -> Identification:
    mass, nodule, lung = (ask(text) for text in ("mass", "nodule", "lung"))
    assert mass.finding and nodule.finding and lung.structure
    return Identification(
        (1.0, 2.0, 3.0), "left lung", ("left lower lobe",), "left", float("nan"), 0.5,
        (Fit(mass.finding, "likely", 0.9, 0.8, 0.75),), (Fit(lung.structure, "uncalibrated", None, 0.4, 0.0),),
        (nodule.finding,), ("outside-chest",), (nodule.finding,), "Here: mass.", "rule (0)",
    )  # fmt: skip


def test_json_is_plain_and_whole() -> None:
    entry = identification_entry(found())
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["mean_hu"] is None
    assert entry["lobes"] == ["left lower lobe"]
    assert entry["findings"][0] | {"code": None} == {
        "id": "mass", "name": "mass", "code": None, "state": "likely", "probability": 0.9, "score": 0.8,
        "marked_fraction": 0.75,
    }  # fmt: skip
    assert entry["structures"][0]["probability"] is None
    assert [term["id"] for term in entry["omitted"]] == ["nodule"]
    assert entry["reasons"][0]["code"] == "outside-chest"


def test_the_table_shows_what_was_not_compared_and_not_calibrated() -> None:
    console = Console(width=80, record=True)
    console.print(identification_table(found()))
    text = console.export_text()
    assert "not compared" in text
    assert "uncalibrated" in text
    assert "Research use only" in text
    assert max(len(line) for line in text.splitlines()) <= 80
