"""Calibration on a manifest of real scans, for models that were not calibrated."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.phantom import MASS, body
from tests.tiny import tiny_nets
from tips_med import cli
from tips_med.card import Calibration, ModelCard
from tips_med.geometry import RAS_FROM_LPS
from tips_med.grounding import encode, ground
from tips_med.manifest import Row, write_manifest
from tips_med.model import load_model
from tips_med.model_files import save_model
from tips_med.readers import read_scan

FINDINGS = ("mass", "nodule")


def scan_file(folder: Path, number: int) -> Path:
    """A body with a mass in every second scan."""
    scan = body([((60.0, 0.0, 10.0 * number), 15.0, MASS)] if number % 2 else [])
    affine = RAS_FROM_LPS @ scan.lps_from_kji @ np.eye(4)[[2, 1, 0, 3]]
    path = folder / f"{number}.nii.gz"
    nib.save(nib.Nifti1Image(scan.voxels.transpose(2, 1, 0).astype(np.int16), affine), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    rows = [
        Row(scan_file(folder, n), "mass", label="present" if n % 2 else "absent", patient=f"p{n}") for n in range(4)
    ]
    write_manifest(rows, folder / "manifest.csv")
    # Without structures there is no chest whose sides have to agree with the body's.
    card = ModelCard("toy", FINDINGS, structures=("liver",), calibration={"liver": Calibration()})
    save_model(folder / "toy.safetensors", *tiny_nets(), card)
    return folder


def test_an_uncalibrated_model_has_scores_and_decides_nothing(data):
    model = load_model(data / "toy.safetensors")
    answer = ground(encode(read_scan(data / "1.nii.gz"), model), "no mass", model)
    assert answer.presence.state == "unsure"
    assert answer.presence.probability is None
    assert answer.presence.holds is None
    assert "uncalibrated" in answer.presence.reasons
    assert "score" in answer.sentence
    assert "not been calibrated" in answer.sentence


def test_a_manifest_of_real_scans_calibrates_what_it_asks_and_nothing_else(data):
    with pytest.raises(Exception, match="nothing to calibrate on"):
        cli.pipeline("calibrate")(str(data / "toy.safetensors"), data / "out.safetensors")
    out = cli.pipeline("calibrate")(
        str(data / "toy.safetensors"), data / "out.safetensors", manifest=data / "manifest.csv"
    )
    told = json.loads(out.with_suffix(".json").read_text())
    card = load_model(out).card
    assert [(one["finding"], one["patient"], one["there"]) for one in told["observations"]] == [
        ("mass", "p0", False), ("mass", "p1", True), ("mass", "p2", False), ("mass", "p3", True)
    ]  # fmt: skip
    assert told["painted"] == []
    (row,) = told["real"]
    assert sum(row["there_called"].values()) == sum(row["not_there_called"].values()) == 2
    assert set(card.calibration) == {"mass", "liver"}
    assert card.findings == FINDINGS, "what nobody asked about is neither calibrated nor refused"


def test_a_region_of_unknown_extent_is_never_called_free(data):
    """The probability is told; that nothing is there is not, for nobody knows how much of the organ was seen."""
    model = load_model(data / "out.safetensors")
    decision = ground(encode(read_scan(data / "0.nii.gz"), model), "no mass", model).presence
    assert decision.probability is not None
    assert decision.state != "absent"
