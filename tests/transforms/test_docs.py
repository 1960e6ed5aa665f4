"""The examples of docs/transforms.md run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.transforms.patients import LEFT_LOW, coarse_model, patient
from tips_med import transforms
from tips_med.geometry import transform_points
from tips_med.readers import read_scan

PAGE = Path(__file__).parents[2] / "docs" / "transforms.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    scan = patient("mirrored")
    write_nifti(tmp_path / "chest.nii.gz", scan.voxels.astype(np.int16), scan.lps_from_kji)
    points = transform_points(scan.lps_from_kji, np.argwhere(np.ones(scan.shape)))
    mass = (np.linalg.norm(points - LEFT_LOW[0], axis=1) < LEFT_LOW[1]).reshape(scan.shape)
    write_nifti(tmp_path / "mass.nii.gz", mass.astype(np.uint8), scan.lps_from_kji)
    monkeypatch.chdir(tmp_path)
    model = coarse_model()
    # The module: the package has a function of the same name.
    monkeypatch.setattr(sys.modules["tips_med.grounding.ground"], "default_model", lambda: model)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    assert "left lung" in capsys.readouterr().out
    saved = read_scan(next((tmp_path / "out").glob("chest_mass.nii.gz")))
    assert saved.shape == scan.shape
    found = transform_points(saved.lps_from_kji, np.argwhere(saved.voxels > 0)).mean(axis=0)
    np.testing.assert_allclose(found, LEFT_LOW[0], atol=4)
    crop = names["crop"]
    assert tuple(crop["image"].shape) == tuple(crop["mask"].shape) == (1, 16, 96, 96)
    assert crop["phrase"] in ("mass in the left lung", "mass in the right lung")


def test_every_transform_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    public = {name for name in transforms.__all__ if name[0].isupper()}
    assert public <= named
