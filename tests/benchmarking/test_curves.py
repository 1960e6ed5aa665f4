"""Curves: a body of any length, many questions, a lexicon that grows, and the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.benchmarking.small import measured_here, written
from tests.conftest import axial_affine, placed_scan
from tests.phantom import rule_model
from tips_med.benchmarking import CURVES, CurveSizes
from tips_med.benchmarking.curve_tasks import grown_lexicon, questions
from tips_med.benchmarking.curves import measured_curve, powers_of_two
from tips_med.benchmarking.figures import draw_curve
from tips_med.benchmarking.gpu import times_on, training_step
from tips_med.benchmarking.long_body import MATRIX, STEP_MM, long_body
from tips_med.benchmarking.markdown import curve_markdown
from tips_med.geometry import spacing_mm
from tips_med.grounding.ground import parse_query
from tips_med.loading import open_model

SIZES = CurveSizes(slices=(3, 5), queries=(1, 3), terms=(1, 400), threads=(1, 2), repeats=2)


@pytest.mark.parametrize("slices", [1, 40, 95])
@pytest.mark.parametrize("turned", [0.0, 20.0])
def test_a_long_body_is_the_scan_there_and_back(slices: int, turned: float) -> None:
    scan = placed_scan(axial_affine((2.5, 0.8, 1.1), turned), (20, 90, 110))
    body = long_body(scan, slices)
    assert body.shape == (slices, MATRIX, MATRIX)
    np.testing.assert_allclose(spacing_mm(body.lps_from_kji), [STEP_MM, 0.8 * 90 / MATRIX, 1.1 * 110 / MATRIX])
    np.testing.assert_allclose(
        body.lps_from_kji[:3, 0] / STEP_MM, scan.lps_from_kji[:3, 0] / 2.5, atol=1e-9
    )  # it goes the same way
    own = min(slices, 20)
    inner = np.isfinite(body.voxels[:own])
    assert inner.mean() > 0.8
    if slices == 95:
        np.testing.assert_array_equal(body.voxels[20:40], body.voxels[:20][::-1])
        np.testing.assert_array_equal(body.voxels[40:60], body.voxels[:20])


def test_questions_are_different_and_each_is_about_another_finding() -> None:
    model = rule_model()
    asked = questions(model)
    assert len(set(asked)) == len(asked) > 30
    found = [parse_query(text, model).finding for text in asked]
    assert all(one is not other for one, other in zip(found, found[1:]))


def test_a_lexicon_grows_by_findings_that_nobody_asks_for() -> None:
    model = rule_model()
    own = model.lexicon
    grown = grown_lexicon(own, len(own.terms) + 700)
    assert len(grown.terms) == len(own.terms) + 700
    for text in questions(model)[:12]:
        assert grown.parse(text).phrase == own.parse(text).phrase
    assert len(grown_lexicon(own, 1).terms) == len(own.terms)


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_has_a_point_for_each_size_a_table_and_a_picture(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tips_med.benchmarking.curves.measured_alone", measured_here)
    files = written(tmp_path)
    done: list[tuple[int, int]] = []
    opened = {"model": files["model"], "device": "cpu"}
    points = measured_curve(name, SIZES, files["scan"], opened, lambda *progress: done.append(progress))
    assert len(points) == 2
    if name != "queries":
        assert done == [(1, 2), (2, 2)]
    if name == "slices":
        assert [point["slabs"] for point in points] == [3, 5]
    if name == "lexicon":
        assert points[1]["terms"] == 400
    for point in points:
        stages = point.get("stages", {})
        assert all(value >= 0 for stage in stages.values() for value in stage.values())
    rows = curve_markdown(name, points).splitlines()
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert draw_curve(name, points, tmp_path / f"{name}.png").stat().st_size > 5000


def test_threads_are_powers_of_two_up_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))):
        monkeypatch.setattr("tips_med.doctor.machine.usable_cores", lambda cores=cores: cores)
        assert powers_of_two() == expected


def test_times_of_a_device_are_those_of_the_tower_a_question_and_a_step(tmp_path) -> None:
    files = written(tmp_path)
    model = open_model(files["model"], "cpu")
    found = times_on(torch.device("cpu"), files["scan"], model, shape=(2, 32, 48))
    assert found["slabs"] == 6
    assert all(found[name] > 0 for name in ("encode_seconds", "question_seconds", "training_step_seconds"))
    assert found["training_step"] == {"scenes": 2, "questions": 14, "shape": [2, 32, 48]}


def test_a_training_step_changes_the_weights(tmp_path, monkeypatch) -> None:
    made = []
    config = open_model(written(tmp_path)["model"], "cpu")
    monkeypatch.setattr("tips_med.benchmarking.gpu._Quiet.to", lambda self, _: made.append(self) or self)
    step = training_step(torch.device("cpu"), config.image.net.config, config.text.net.config, (2, 32, 48))
    before = [parameter.clone() for parameter in made[0].parameters()]
    step()
    changed = [not torch.equal(one, other) for one, other in zip(before, made[0].parameters())]
    assert sum(changed) > len(changed) / 2
