"""A bundle is checked, loaded, asked and trained by MONAI itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("ignite", reason="needs tips-med[monai]")
pytest.importorskip("fire", reason="needs tips-med[monai]")

import monai.bundle
from monai.bundle.workflows import ConfigWorkflow

from tests.exporters.patient import make_scan
from tests.tiny import tiny_nets
from tests.training.small import write_studies
from tips_med.bundle.export import write_bundle
from tips_med.card import Calibration, ModelCard
from tips_med.errors import OutputError, WeightsError
from tips_med.exporters.nifti import write_volume
from tips_med.grounding import encode, ground
from tips_med.loading import open_model
from tips_med.model import load_model, net_of_model
from tips_med.model_files import save_model
from tips_med.readers import read_scan
from tips_med.sample import sample_path

ROOT = Path(__file__).resolve().parents[2]
CARD = ModelCard(
    "tiny", ("mass", "nodule"), ("lung",), calibration={"mass": Calibration(), "lung": Calibration()}, data=("noise",)
)
# MONAI's own: a reminder to trust configurations, and what it deprecates itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, *tiny_nets(), CARD)
    return path


@pytest.fixture
def bundle(weights, tmp_path):
    return write_bundle(load_model(weights), tmp_path / "tiny_ct")


def test_it_has_what_the_specification_asks_for(bundle):
    files = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file()}
    assert {"configs/metadata.json", "models/model.pt", "docs/README.md", "LICENSE", "models/lexicon.yaml"} <= files
    for name in ("inference", "train"):
        made = yaml.safe_load((bundle / "configs" / f"{name}.yaml").read_text("utf-8"))
        assert made == json.loads((bundle / "configs" / f"{name}.json").read_text("utf-8"))
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}
    page = (bundle / "docs" / "README.md").read_text("utf-8")
    assert "monai.bundle run" in page
    assert "Research use only" in page
    assert page.count("# tiny") == 1


def test_monai_verifies_metadata_and_network(bundle):
    configs = bundle / "configs"
    monai.bundle.verify_metadata(
        meta_file=str(configs / "metadata.json"), filepath=str(configs / "metadata.schema.json")
    )
    for size in (1, 2):
        monai.bundle.verify_net_in_out(
            "network_def", str(configs / "metadata.json"), str(configs / "inference.json"), device="cpu", n=size
        )
    metadata = json.loads((configs / "metadata.json").read_text("utf-8"))
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == ["mass", "nodule", "right lung", "left lung"]
    # A wrong one is noticed.
    del metadata["network_data_format"]["outputs"]
    (configs / "wrong.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="'outputs' is a required property"):
        monai.bundle.verify_metadata(
            meta_file=str(configs / "wrong.json"), filepath=str(configs / "metadata.schema.json")
        )


def test_monai_loads_the_network_from_the_folder(bundle, weights, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    network = monai.bundle.load("tiny_ct", bundle_dir=str(tmp_path), device="cpu")
    ours = net_of_model(load_model(weights))
    assert network.fingerprint() == ours.fingerprint()
    pixels = torch.rand(1, ours.image.config.slabs.channels, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(pixels)[:, :2], ours(pixels, words=ours.indices(["mass", "nodule"])))


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_a_workflow_has_all_properties_that_monai_knows(bundle, kind, tmp_path):
    changes = {"manifest": str(write_studies(tmp_path)), "shape": [4, 32, 32]} if kind == "train" else {}
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / f"{kind}.yaml"), workflow_type=kind, logging_file=False,
        bundle_root=str(bundle), **changes,
    )  # fmt: skip
    workflow.initialize()
    assert workflow.check_properties() == []


def asked(bundle: Path, scan: Path, query: str, *more: str) -> subprocess.CompletedProcess[str]:
    """As a stranger would: from the bundle's folder, with MONAI's command line."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--image", str(scan), "--query", query, *more],
        cwd=bundle, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def scan_file(tmp_path):
    scan = make_scan()
    return write_volume(scan.voxels.astype(np.int16), scan.lps_from_kji, tmp_path / "chest.nii.gz")


def test_a_stranger_asks_and_gets_what_ground_says(bundle, weights, scan_file):
    model = load_model(weights)
    done = asked(bundle, scan_file, "['mass left lung', 'nodule']", "--modality", "CT")
    assert done.returncode == 0, done.stderr[-2000:]
    mask = nib.load(bundle / "eval" / "chest_mask.nii.gz")
    study = encode(read_scan(scan_file), model)
    answers = [ground(study, query, model) for query in ("mass left lung", "nodule")]
    made = np.asarray(mask.dataobj)
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(made[..., n].transpose(2, 1, 0), answer.mask.astype(np.uint8))
    np.testing.assert_allclose(mask.affine, nib.load(scan_file).affine, atol=1e-5)
    report = json.loads((bundle / "eval" / "chest_report.json").read_text("utf-8"))
    assert [one["sentence"] for one in report["answers"]] == [answer.sentence for answer in answers]
    assert report["model"]["weights_sha256"] == model.sha256


def test_other_weights_have_no_calibration_and_the_model_says_so(bundle, weights, caplog):
    assert open_model(str(bundle), "cpu").card == CARD
    assert open_model(str(bundle), "cpu").sha256 == load_model(weights).sha256
    file = bundle / "models" / "model.pt"
    state = torch.load(file, weights_only=True)
    state["head.bias.bias"] = state["head.bias.bias"] + 1
    torch.save(state, file)
    with caplog.at_level(logging.WARNING):
        trained = open_model(str(bundle), "cpu")
    assert set(trained.card.calibration) == {"lung"}
    assert trained.sha256 != load_model(weights).sha256
    assert "not calibrated" in caplog.text


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (self.mark.touch, ())


@pytest.mark.parametrize("content", ["evil", "cut", "other", "none"])
def test_weights_that_are_not_its_own_are_a_line(bundle, content, tmp_path):
    mark = tmp_path / "was-here"
    file = bundle / "models" / "model.pt"
    if content == "none":
        file.unlink()
    elif content == "cut":
        file.write_bytes(file.read_bytes()[:-500])
    else:
        torch.save(Evil(mark) if content == "evil" else {"x": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="no such file" if content == "none" else "not the state dict"):
        open_model(str(bundle), "cpu")
    assert not mark.exists()


def test_a_folder_with_something_in_it_is_left_alone(weights, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        write_bundle(load_model(weights), tmp_path / "mine")


@pytest.mark.shipped
def test_the_shipped_bundle_equals_ground_voxel_by_voxel(tmp_path):
    model = open_model()
    bundle = write_bundle(model, tmp_path / "chest_ct")
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"), workflow_type="inference", logging_file=False,
        bundle_root=str(bundle), query="mass left lung",
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    answer = ground(encode(read_scan(sample_path()), model), "mass left lung", model)
    assert answer.presence.state == "present"
    (file,) = (bundle / "eval").glob("*_mask.nii.gz")
    mask = nib.load(file)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(mask.dataobj).transpose(2, 1, 0), answer.mask.astype(np.uint8))
    np.testing.assert_array_equal(mask.affine, nib.load(sample_path()).affine)
