"""The command, from files to files."""

from __future__ import annotations

import json
import sys

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from tests.followup.patients import LEFT, RIGHT, mass, motion, moved, patient, with_vessels
from tests.phantom import rule_model
from tips_med import cli
from tips_med.exporters.comparison import comparison_schema
from tips_med.geometry import ras_affine_ijk


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    prior = with_vessels(patient([mass(LEFT, 12.0), mass(RIGHT, 14.0)]))
    later = with_vessels(patient([mass(LEFT, 19.0), mass(RIGHT, 14.0)]))
    paths = []
    for name, scan in (("prior", prior), ("current", moved(later, motion(), "mirrored"))):
        path = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(scan.voxels.T.astype(np.int16), ras_affine_ijk(scan.lps_from_kji)), path)
        paths.append(path)
    return paths


@pytest.fixture(autouse=True)
def _rule_model(monkeypatch, request):
    if "shipped" not in request.keywords:
        module = sys.modules[cli.pipeline("compare").__module__]
        monkeypatch.setattr(module, "open_model", lambda name, device: rule_model())


def test_a_pair_becomes_a_table_a_report_masks_and_a_figure(files, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["compare", *files, "mass", "no mass in the right lung", "left lung", "--modality", "CT", "--out", out]
    assert cli.main([str(one) for one in given]) == cli.PARTLY  # a structure is not compared
    said = capsys.readouterr()
    assert "grown" in said.out
    assert "Research use only" in said.out
    assert "was not checked: not both state a Patient ID" in said.out
    assert "only findings are compared" in said.err
    report = json.loads((out / "report.json").read_text())
    jsonschema.validate(report, comparison_schema())
    first, second, declined = report["comparisons"]
    assert report["registration"]["good"]
    assert report["days_between"] is None
    assert {one["region"].rpartition("the ")[2]: one["status"] for one in first["changes"]} == {
        "left lung": "grown",
        "right lung": "stable",
    }
    assert [one["status"] for one in second["changes"]] == ["stable"]
    assert second["prior"]["holds"] is False
    assert declined["declined"]["code"] == "no-finding"
    folder = out / first["folder"]
    for name in ("figure.png", "prior.nii.gz", "current.nii.gz", "prior_on_current.nii.gz"):
        assert f"{first['folder']}/{name}" in first["files"]
        assert (folder / name).stat().st_size > 0
    number = next(one["number"] for one in first["changes"] if one["status"] == "grown")
    names = ("prior.nii.gz", "current.nii.gz", "prior_on_current.nii.gz")
    first_day, now, before = (nib.load(folder / name) for name in names)
    np.testing.assert_allclose(first_day.affine, nib.load(files[0]).affine, atol=1e-3)
    np.testing.assert_allclose(now.affine, nib.load(files[1]).affine, atol=1e-3)
    first_day_mm3, before_mm3 = (
        (np.asarray(one.dataobj) == number).sum() * abs(np.linalg.det(one.affine)) for one in (first_day, before)
    )
    assert before_mm3 == pytest.approx(first_day_mm3, rel=0.15), "moved, the prior's mask keeps its volume"
    now, before = (np.asarray(one.dataobj) == number for one in (now, before))
    assert (before & now).sum() > 0.85 * before.sum(), "the prior's mask lies inside the grown one, once moved"
    assert now.sum() > 2 * before.sum()
    # Again into the same folder: earlier results are replaced, other files are not.
    assert cli.main([str(one) for one in ["compare", *files, "mass", "--modality", "CT", "--out", out]]) == 0
    assert not (out / second["folder"]).exists()


def test_a_file_that_is_missing_is_told_on_one_line(tmp_path, files, capsys):
    assert (
        cli.main(["compare", str(files[0]), str(tmp_path / "none.nii.gz"), "mass", "--out", str(tmp_path / "o")]) == 2
    )
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.shipped
def test_the_shipped_weights_find_the_sample_unchanged(tmp_path, capsys):
    assert (
        cli.main(
            ["compare", "sample", "sample", "mass in the left lung", "--modality", "CT", "--out", str(tmp_path / "o")]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "stable" in said
    assert "same scan" in said
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert [one["status"] for one in report["comparisons"][0]["changes"]] == ["stable"]
