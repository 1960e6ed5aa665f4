"""The four worked examples of docs/extending: each is run, and does what its page says."""

from __future__ import annotations

import csv
import importlib.util
import pickle
import runpy
from types import ModuleType

import numpy as np
import pytest

from tests.docs.snippets import DOCS
from tests.exporters.patient import make_grounding
from tests.synthesis.findings.toy import canvas
from tips_med.exporters.folder import write_answers
from tips_med.grounding import encode, ground
from tips_med.query import Lexicon

EXAMPLES = sorted((DOCS / "extending").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "extending" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shipped
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs_as_a_script(path, capsys, encoded_once):
    assert len(path.read_text("utf-8").splitlines()) <= 60
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed
    if path.stem == "volume_metric":
        page = (DOCS / "extending" / "index.md").read_text("utf-8")
        assert all(f"    {line}" in page for line in printed.splitlines())


def test_the_exporter_writes_a_line_for_each_component(tmp_path):
    exporter = load("csv_exporter").CsvExporter(delimiter=";")
    answers = [make_grounding(second=True), make_grounding()]
    answers[1] = make_grounding(answers[0].scan, state="absent")
    paths = write_answers(answers, tmp_path / "out", {}, exporters=[exporter])
    texts = [path.read_text("utf-8") for path in sorted(paths) if path.suffix == ".csv"]
    tables = [list(csv.DictReader(text.splitlines(), delimiter=";")) for text in texts]
    assert [[row["side"] for row in table] for table in tables] == [["left", "right"], []]


def test_the_metric_is_one_of_torchmetrics():
    metric = load("volume_metric").VolumeDifference()
    truth = np.zeros((2, 10, 10), bool)
    metric.update(make_grounding(), None, "present")
    metric.add_masks(truth, truth)
    assert metric.cases == 0
    truth[:, :5] = True
    metric.add_masks(np.ones_like(truth), truth, patient="a")
    metric.update(make_grounding(), None, "present")
    values = metric.compute()
    assert (float(values["bias"]), float(values["error"])) == (1.0, 1.0)


@pytest.mark.parametrize("seed", range(6))
def test_the_painter_paints_air_with_a_wall(seed):
    paint = load("bulla_painter").paint_bulla
    before, after = canvas(seed), canvas(seed)
    bulla = paint(after, 1)
    assert bulla is not None
    assert bulla.side == "right"
    assert Lexicon.load("chest_ct").term(bulla.finding).kind == "finding"
    assert np.percentile(after.volume_hu[bulla.mask], 10) < -950 < before.volume_hu[bulla.mask].min()
    assert (after.volume_hu - before.volume_hu).max() > 30
    assert after.taken[bulla.mask].all()
    assert pickle.dumps(bulla.mask) == pickle.dumps(paint(canvas(seed), 1).mask)


def test_the_tower_finds_bone_where_bone_is():
    from tests.phantom import body

    example = load("density_tower")
    scan = body([((65.0, 10.0, -70.0), 15.0, 700.0)])
    study = encode(scan, example.model)
    answer = ground(study, "bone", example.model)
    assert answer.presence.state == "unsure"
    assert "uncalibrated" in answer.presence.reasons
    np.testing.assert_allclose(answer.peak_lps, (65.0, 10.0, -70.0), atol=16)
