from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.nodules import measuring
from benchmarks.nodules.cases import Case
from benchmarks.nodules.measuring import EXCLUDED, FALSE, froc, markdown, row_of, values
from benchmarks.nodules.pictures import planes
from tips_med.metrics import Spheres
from tips_med.scan import Scan


@dataclass(frozen=True)
class Mark:
    place_lps: tuple[float, float, float]
    logit: float


def row(case: str, sizes: list[float], marks: list[tuple[float, int]], trained_on: bool = False) -> dict:
    listed = [[n, 0, 0, logit, hit] for n, (logit, hit) in enumerate(marks)]
    shared = {"case": case, "group": "four readers", "trained_on": trained_on, "query": "nodule"}
    return shared | {"sizes_mm": sizes, "marks": listed, "roundness": [5.0 * (hit == 0) for _, hit in marks]}


def test_the_table_is_made_of_stored_marks():
    rows = [
        row("a", [5.0, 12.0], [(2.0, 1), (1.0, FALSE), (0.5, 0), (0.4, EXCLUDED)]),
        row("b", [], [], trained_on=True),
    ]
    metric = froc(rows)
    marks, found = metric.curve()
    assert marks.tolist() == [0, 0, 0.5, 0.5]
    assert found.tolist() == [0, 0.5, 0.5, 1]
    table = values(rows)
    every, held_out = table["real, all nodules outlined: nodule"], table["of them, held out: nodule"]
    assert (every["scans"], held_out["scans"]) == (2, 1)
    assert every["nodules"] == {"all": 2, "below 6 mm": 1, "6 to 10 mm": 0, "10 to 20 mm": 1, "20 mm and more": 0}
    text = markdown(table)
    assert "| real, all nodules outlined (2) | nodule | 10 to 20 mm | 1 | 1.00 (" in text
    assert "6 to 10 mm" not in text
    assert froc(rows, weight=2.0).curve()[1].tolist() == [0, 0.5, 1, 1]  # what is round comes first


def test_a_mass_is_no_nodule_and_no_false_mark(monkeypatch):
    marks = (Mark((0.0, 0.0, 0.0), 3.0), Mark((100.0, 0.0, 0.0), 2.0), Mark((200.0, 0.0, 0.0), 1.0))
    monkeypatch.setattr(measuring, "find_candidates", lambda study, query, model: marks)
    monkeypatch.setattr(measuring, "roundness", lambda scan, places: np.zeros(len(places)))
    truth = Spheres(np.array([[0.0, 0, 0], [100, 0, 0]]), np.array([40.0, 10.0]))
    case = Case("a", "one lesion", False, lambda: pytest.fail("not read"))
    hits = {
        query: [mark[4] for mark in row_of(case, SimpleNamespace(scan=None), truth, (), query, None)["marks"]]  # type: ignore[arg-type]
        for query in ("nodule", "lesion")
    }
    assert hits == {"nodule": [EXCLUDED, 0, FALSE], "lesion": [0, 1, FALSE]}


def test_a_picture_has_the_mark_in_its_middle():
    voxels = np.full((60, 80, 90), -1000, np.float32)
    voxels[30, 40, 50] = 150
    affine = np.array([[0, 0, 2.0, -100], [0, 2, 0, -80], [3, 0, 0, 10], [0, 0, 0, 1]])
    picture = planes(Scan(voxels, affine, "CT", "HU"), np.array([0.0, 0.0, 100.0]))
    third = picture.shape[1] // 3
    for n in range(3):
        view = picture[:, n * third : (n + 1) * third]
        assert view[third // 2, third // 2] > 200
        assert view[third // 2 - 20, third // 2] < 100
