"""The command ``what``: a place in, names out; bad places are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.phantom import MASS, body, rule_model
from tips_med import cli
from tips_med.exporters.nifti import write_volume
from tips_med.grounding import encode

MASS_AT = (65.0, 10.0, -40.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> str:
    made = encode(body([(MASS_AT, 15.0, MASS)]), rule_model())
    return str(made.save(tmp_path_factory.mktemp("what") / "study.safetensors"))


@pytest.fixture(autouse=True)
def _rule(monkeypatch) -> None:
    module = __import__(cli.pipeline("what").__module__, fromlist=["what"])
    monkeypatch.setattr(module, "open_model", lambda *_: rule_model())


def test_a_point_has_a_name(study, capsys):
    assert cli.main(["what", study, "--at=65,10,-40", "--json", "--quiet"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["findings"][0]["id"] == "mass"
    assert entry["side"] == "left"


def test_a_region_has_a_name_and_a_table(study, tmp_path, capsys):
    scan = body([(MASS_AT, 15.0, MASS)])
    write_volume((scan.voxels == MASS).astype(np.uint8), scan.lps_from_kji, tmp_path / "mask.nii.gz")
    assert cli.main(["what", study, "--region", str(tmp_path / "mask.nii.gz")]) == 0
    out = capsys.readouterr().out
    assert "mass" in out
    assert "likely" in out
    assert "not a medical device" in out


@pytest.mark.parametrize("options", [[], ["--at=1,2"], ["--at=a,b,c"], ["--at=0,0,900"], ["--at=0,0,0", "--region=x"]])
def test_no_place_is_one_line(study, options, capsys):
    assert cli.main(["what", study, *options, "--quiet"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("tips-med: ")
    assert "Traceback" not in said.err
    assert said.out == ""
