from __future__ import annotations

import dataclasses
import json

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from tests.phantom import MASS, body, rule_model
from tips_med import cli
from tips_med.exporters.report import schema
from tips_med.geometry import ras_affine_ijk

LEFT_LOW = ((65.0, 10.0, -70.0), 15.0, MASS)


@pytest.fixture
def scan_file(tmp_path):
    scan = body([LEFT_LOW])
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(scan.voxels.T.astype(np.int16), ras_affine_ijk(scan.lps_from_kji)), path)
    return path


@pytest.fixture(autouse=True)
def _rule_model(monkeypatch, request):
    if "shipped" not in request.keywords:
        opened = {"ground": "open_model_at", "encode": "open_model"}
        for name, loads in opened.items():
            module = __import__(cli.pipeline(name).__module__, fromlist=[name])
            monkeypatch.setattr(module, loads, lambda *_: rule_model())


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_a_question_is_answered_with_a_table_a_report_and_files(scan_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("ground", scan_file, "mass in the left lung", "no ground-glass opacity", "--out", out) == 0
    said = capsys.readouterr()
    assert "lower third of the left lung" in said.out
    assert "The statement 'no ground-glass opacity' holds." in said.out
    assert "Note: The file does not state its modality" in said.out
    report = json.loads((out / "report.json").read_text())
    jsonschema.validate(report, schema())
    assert [answer["query"] for answer in report["answers"]] == ["mass in the left lung", "no ground-glass opacity"]
    assert [answer["presence"] for answer in report["answers"]] == ["present", "absent"]
    for name in ("heat.nii.gz", "mask.nii.gz", "figure.png"):
        assert (out / "01-mass-in-the-left-lung" / name).stat().st_size > 0
    mask = nib.load(out / "01-mass-in-the-left-lung" / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, nib.load(scan_file).affine, atol=1e-4)
    centre = mask.affine @ np.append(np.argwhere(np.asarray(mask.dataobj)).mean(axis=0), 1)
    np.testing.assert_allclose(centre[:3] * (-1, -1, 1), LEFT_LOW[0], atol=2)


def test_the_second_question_costs_no_second_encoding(scan_file, tmp_path, monkeypatch):
    study = tmp_path / "study.safetensors"
    assert run("encode", scan_file, "--out", study) == 0
    ground = __import__(cli.pipeline("ground").__module__, fromlist=["ground"])
    monkeypatch.setattr(ground, "encode_scan", lambda *_: pytest.fail("encoded again"))
    assert run("ground", study, "mass", "--out", tmp_path / "out") == 0
    answer = json.loads((tmp_path / "out" / "report.json").read_text())["answers"][0]
    assert answer["instances"][0]["region"] == "lower third of the left lung"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.nii.gz", "mass"], "nowhere.nii.gz: does not exist"),
        (["{scan}", "zorp"], "no word of 'zorp'"),
        (["{scan}", "honeycombing"], "is for honeycombing; expected what the model 'rule' was trained to find"),
        (["{scan}", "mass", "--config", "nothing"], "expected one of calibrate_chest_ct, chest_ct"),
        (["{text}", "mass"], "is no format that can be read"),
        (["{empty}", "mass"], "is an empty folder"),
        (["{study}", "mass"], "not a readable study"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_exit_code_2(arguments, said, scan_file, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not json at all")
    (tmp_path / "empty").mkdir()
    names = {
        "scan": scan_file,
        "text": tmp_path / "text.txt",
        "empty": tmp_path / "empty",
        "study": tmp_path / "bad.safetensors",
    }
    out = tmp_path / "out"
    assert run("ground", *(argument.format(**names) for argument in arguments), "--out", out) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_told_before_any_work(scan_file, tmp_path, capsys, monkeypatch):
    ground = __import__(cli.pipeline("ground").__module__, fromlist=["ground"])
    monkeypatch.setattr(ground, "read_scan", lambda *_, **__: pytest.fail("work began"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert run("ground", scan_file, "mass", "--out", tmp_path / "mine") == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_missing_argument_is_a_usage_error(scan_file, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("ground", scan_file, "mass")
    assert stopped.value.code == 2
    assert "out" in capsys.readouterr().err


def test_a_scan_of_another_modality_is_refused(scan_file, tmp_path, capsys, monkeypatch):
    ground = __import__(cli.pipeline("ground").__module__, fromlist=["ground"])
    monkeypatch.setattr(ground, "read_scan", lambda *_, **__: dataclasses.replace(body(), modality="MR", unit=""))
    assert run("ground", scan_file, "mass", "--out", tmp_path / "out") == 2
    assert "the scan is MR; expected CT" in capsys.readouterr().err


def test_quiet_says_the_answer_and_nothing_else(scan_file, tmp_path, capsys):
    assert run("ground", scan_file, "mass", "--out", tmp_path / "out", "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "Research use only, not a medical device" in said.out


def test_inspect_lists_what_is_there_and_what_would_be_read(scan_file, capsys):
    assert run("inspect", scan_file) == 0
    assert "80 x 100 x 100" in capsys.readouterr().out
    assert run("inspect", scan_file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["would_read"]


@pytest.mark.shipped
def test_the_shipped_model_finds_the_mass_of_the_bundled_scan(tmp_path):
    out = tmp_path / "out"
    queries = ["mass in the left lung", "mass in the right lung", "left lung", "right lung"]
    assert run("ground", "sample", *queries, "--out", out, "--quiet") == 0
    mass, other, left, right = json.loads((out / "report.json").read_text())["answers"]
    assert mass["presence"] == "present"
    assert mass["instances"][0]["side"] == "left"
    # The centroid of what at least five of nine runs of semi-automatic outlining agree on.
    assert np.linalg.norm(np.array(mass["peak_lps"]) - (52.3, -85.8, 277.4)) < 20
    assert other["presence"] != "present"
    assert 1000 < left["instances"][0]["volume_ml"] < 2500
    assert 1000 < right["instances"][0]["volume_ml"] < 2500
