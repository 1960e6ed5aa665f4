from __future__ import annotations

import json
import resource
import signal
import struct

import pytest
import torch

from tests.tiny import CONFIG, tiny_nets
from tips_med.card import Calibration, ModelCard
from tips_med.errors import ConfigError, OutputError, WeightsError
from tips_med.loading import open_model, pick_device
from tips_med.model import load_model
from tips_med.model_files import save_model

CARD = ModelCard("toy", ("mass",), data=("nothing",), calibration={"mass": Calibration(slope=2.0, intercept=-1.0)})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "toy.safetensors"
    save_model(path, *tiny_nets(), CARD)
    return path


def test_a_model_comes_back_as_it_was_saved(weights):
    image, text, head = tiny_nets()
    model = load_model(weights)
    assert model.card == CARD
    assert model.image.slab_spec == CONFIG.slabs
    assert model.text.net.config == text.config
    for key, value in head.state_dict().items():
        torch.testing.assert_close(model.head.state_dict()[key], value.half().float())
    assert model.identity == f"toy ({model.sha256[:12]})"
    assert image.config == model.image.net.config


def test_a_term_without_a_calibration_of_its_own_has_none():
    assert CARD.calibration_of("mass").slope == 2.0
    assert CARD.calibration_of("nodule") is None


def test_one_file_holds_everything_and_no_pickle(weights):
    size = struct.unpack("<Q", weights.read_bytes()[:8])[0]
    metadata = json.loads(weights.read_bytes()[8 : 8 + size])["__metadata__"]
    assert set(metadata) == {"format", "image", "text", "card"}
    assert json.loads(metadata["card"])["licence"] == "Apache-2.0"


def test_damaged_missing_and_foreign_weights_are_refused_in_a_line(weights, tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        load_model(tmp_path / "nowhere.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_model(cut)
    from safetensors.torch import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign, {"format": "pt"})
    with pytest.raises(WeightsError, match="expected 'tips_med-compact-1'"):
        load_model(foreign)


def test_a_full_disk_leaves_the_model_that_was_there(weights, tmp_path):
    before = weights.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match="Make room"):
            save_model(weights, *tiny_nets(1), CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert weights.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [weights.name]


def test_tensors_that_do_not_fit_the_metadata_are_refused(tmp_path):
    image, text, head = tiny_nets()
    path = tmp_path / "odd.safetensors"
    head.to_patch = torch.nn.Linear(16, 5)
    save_model(path, image, text, head, CARD)
    with pytest.raises(WeightsError, match="do not fit together"):
        load_model(path)


def test_the_shipped_model_is_small_and_says_what_it_is():
    model = open_model()
    path = __import__("tips_med.model", fromlist=["_WEIGHTS"])._WEIGHTS / "chest_ct.safetensors"
    assert path.stat().st_size <= 25_000_000
    assert {"nodule", "mass", "ground_glass_opacity"} <= set(model.card.findings)
    assert model.card.data
    assert set(model.card.findings) <= set(model.card.calibration)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="expected auto, cpu or cuda"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            pick_device("cuda")
