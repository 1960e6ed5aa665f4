"""A folder of TIPS towers, asked like any other model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.tips.test_image import oblique_scan
from tips_med.cli import main
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import grid_corners
from tips_med.grounding import encode, ground
from tips_med.loading import open_model
from tips_med.slabs import make_slabs


def test_a_scan_is_encoded_saved_and_asked(tips_folder: Path, tmp_path: Path) -> None:
    model, scan = open_model(f"tips:{tips_folder}", "cpu"), oblique_scan((8.0, 18.0, 24.0))
    assert max(make_slabs(scan, model.image.slab_spec).pixels.shape[-2:]) == 3 * 14  # enlarged to 4 x 14
    encode(scan, model).save(tmp_path / "study.safetensors")
    study = EncodedStudy.load(tmp_path / "study.safetensors")
    assert study.encoder == model.text.name
    found = ground(study, "ground glass opacity in the left lung", model)
    # Random weights: what is found means nothing, but it has a place, and it is where the scan is.
    assert found.heat.shape == tuple(study.features.patches.shape[:3])
    assert max(found.heat.shape[1:]) == 4
    assert np.isfinite(found.heat).any()
    assert found.labels.shape == scan.shape
    assert {heat.shape for heat in found.token_heat.values()} == {found.heat.shape}
    low, high = (getattr(grid_corners(found.lps_from_heat, found.heat.shape), end)(axis=0) for end in ("min", "max"))
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    slack_mm = np.array([14 * 0.9, 14 * 0.9, 2.5])
    assert (low <= corners.min(axis=0) + slack_mm).all()
    assert (high >= corners.max(axis=0) - slack_mm).all()


def nowhere(folder: Path) -> None:
    shutil.rmtree(folder)


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def other_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))


def other_sizes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (nowhere, "expected the folder of a TIPS model"),
        (truncated, "truncated, or not a safetensors file"),
        (other_model, "a model of the type 'clip'; expected 'tipsv2'"),
        (other_sizes, "expected the weights of its config.json"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_wrong_with_a_folder(
    harm, told: str, tips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tips"
    shutil.copytree(tips_folder, folder)
    harm(folder)
    assert main(["ground", "sample", "mass", "--model", f"tips:{folder}", "--out", str(tmp_path / "out")]) == 2
    assert_one_line(capsys, told)


def test_the_command_line_says_which_extra_is_missing(
    tips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["ground", "sample", "mass", "--model", f"tips:{tips_folder}", "--out", str(tmp_path / "out")]) == 2
    assert_one_line(capsys, "pip install 'tips-med[tips]'")


def assert_one_line(capsys: pytest.CaptureFixture[str], told: str) -> None:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tips-med: ")]
    assert len(lines) == 1
    assert told in lines[0]
