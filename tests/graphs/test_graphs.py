"""Graphs give what the networks give, at any size, and their folder holds what a runtime needs."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_adapter import taught
from tests.tiny import CONFIG, tiny_nets
from tips_med import cli
from tips_med.card import ModelCard
from tips_med.encoders.base import ImageTower
from tips_med.errors import MissingExtraError, OutputError, WeightsError
from tips_med.graphs import export as graphs
from tips_med.graphs import write_graphs
from tips_med.model import GroundingModel, load_model, net_of_model
from tips_med.model_files import save_model

CARD = ModelCard("tiny", ("nodule", "pleural_effusion"), ("lung", "hemithorax"))
SIZES = [(1, 32, 32), (2, 48, 80), (9, 64, 32)]
"""Slabs, rows and columns that no graph was traced with."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GroundingModel:
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_model(file, *tiny_nets(), CARD)
    return load_model(file)


@pytest.fixture(scope="module")
def onnx_folder(model: GroundingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="needs tips-med[onnx]")
    pytest.importorskip("onnxruntime", reason="needs tips-med[test]")
    return write_graphs(model, tmp_path_factory.mktemp("graphs") / "onnx", "onnx")


@pytest.fixture(scope="module")
def pt2_folder(model: GroundingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fused = torch.backends.mha.get_fastpath_enabled()
    folder = write_graphs(model, tmp_path_factory.mktemp("graphs") / "pt2", "pt2")
    assert torch.backends.mha.get_fastpath_enabled() is fused  # as it was for those who go on
    return folder


def run(file: Path, *inputs: torch.Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: value.numpy() for one, value in zip(session.get_inputs(), inputs)})


def pixels_of(slabs: int, rows: int, columns: int) -> torch.Tensor:
    return torch.rand(1, slabs, CONFIG.slabs.channels, rows, columns)


@pytest.mark.parametrize("size", SIZES)
def test_onnx_gives_what_the_networks_give(model, onnx_folder, size):
    net, offset = net_of_model(model), torch.tensor([[-30.0, 12.5]])
    pixels = pixels_of(*size)
    with torch.no_grad():
        expected = net.image(pixels, offset)
        words = net.text(net.indices(["nodule", "right upper lobe pleural effusion"]))
        logits = net.head.fine_scores(words[1], *(one[0] for one in expected))
    found = run(onnx_folder / "image.onnx", pixels, offset)
    for own, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-4)
    embedded = run(onnx_folder / "words.onnx", net.indices(["nodule", "right upper lobe pleural effusion"]))
    for own, theirs in zip(embedded, words, strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    made = run(onnx_folder / "head.onnx", *(torch.from_numpy(one) for one in (embedded[1], found[0][0], found[1][0])))
    np.testing.assert_allclose(made[0], logits, atol=1e-4)


def test_sizes_have_names_and_nothing_of_this_machine_is_told(onnx_folder):
    import onnx

    image = onnx.load(onnx_folder / "image.onnx")
    onnx.checker.check_model(image, full_check=True)
    sizes = [[size.dim_param for size in one.type.tensor_type.shape.dim] for one in image.graph.input]
    assert sizes[0] == ["", "slab", "", "16*row", "16*column"]
    for file in onnx_folder.glob("*.onnx"):
        content = file.read_bytes()
        assert b"site-packages" not in content and b".py" not in content
        assert not (file.with_suffix(".onnx.data")).exists()


def test_pt2_gives_exactly_what_the_networks_give(model, pt2_folder):
    net, offset = net_of_model(model), torch.tensor([[-30.0, 12.5]])
    image = traced(pt2_folder / "image.pt2")
    indices = net.indices(["nodule", "left lung"])
    with torch.no_grad():
        for size in SIZES:
            pixels = pixels_of(*size)
            for own, theirs in zip(image(pixels, offset), net.image(pixels, offset), strict=True):
                torch.testing.assert_close(own, theirs, rtol=0, atol=0)
        for own, theirs in zip(traced(pt2_folder / "words.pt2")(indices), net.text(indices), strict=True):
            torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-6)  # there by a fused layer
    with zipfile.ZipFile(pt2_folder / "image.pt2") as opened:
        assert not [name for name in opened.namelist() if b"site-packages" in opened.read(name)]


def traced(file: Path) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PyTorch thinks of its own parts
        return torch.export.load(file).module()


def test_the_description_is_that_of_the_model(model, onnx_folder):
    told = json.loads((onnx_folder / "model.json").read_text("utf-8"))
    assert told["format"] == "tips_med-onnx-1"
    assert told["weights_sha256"] == model.sha256
    assert told["vocabulary"] == list(net_of_model(model).vocabulary)
    assert told["card"]["findings"] == list(CARD.findings)
    assert told["image"]["slabs"]["windows_hu"] == [list(one) for one in CONFIG.slabs.windows_hu]
    for graph in told["graphs"].values():
        assert hashlib.sha256((onnx_folder / graph["file"]).read_bytes()).hexdigest() == graph["sha256"]
    assert model.lexicon.text == (onnx_folder / "lexicon.yaml").read_text("utf-8")
    page = (onnx_folder / "README.md").read_text("utf-8")
    assert model.sha256 in page and "Research use only" in page and "{" not in page.replace("```python", "")


def test_adapters_have_graphs_of_their_own(model, tmp_path):
    later = taught(model, tmp_path, ["spiculated nodule"])
    folder = write_graphs(later, tmp_path / "graphs", "pt2")
    (told,) = json.loads((folder / "model.json").read_text("utf-8"))["adapters"]
    assert told["phrases"] == ["spiculated nodule"]
    assert told["graphs"]["image"]["file"] == "adapters/1/image.pt2"
    pixels, offset = pixels_of(3, 48, 32), torch.zeros(1, 2)
    net = net_of_model(later, ("spiculated nodule", "nodule"))
    with torch.no_grad():
        expected = net(pixels.transpose(1, 2), offset)[0]
        for phrase, place in enumerate((folder / "adapters" / "1", folder)):
            patches, fine = traced(place / "image.pt2")(pixels, offset)
            words = net.indices([net.phrases[phrase], "nodule"])
            pooled = traced(place / "words.pt2")(words)[1]
            logits = traced(place / "head.pt2")(pooled, patches[0], fine[0])
            torch.testing.assert_close(logits[0], expected[phrase], rtol=1e-4, atol=1e-4)


def test_the_command_writes_all_or_nothing(model, tmp_path, capsys, monkeypatch):
    out = tmp_path / "pt2"
    command = ["export", "--to", "pt2", "--model", str(model.file), "--out", str(out)]
    assert cli.main(command) == 0
    names = {"image.pt2", "words.pt2", "head.pt2", "model.json", "lexicon.yaml", "README.md"}
    assert {one.name for one in out.iterdir()} == names
    assert cli.main(command) == 2
    assert "is not empty" in capsys.readouterr().err

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graphs, "trace", fails)
    with pytest.raises(OutputError, match="No space left"):
        write_graphs(model, tmp_path / "other", "pt2")
    assert not (tmp_path / "other").exists()
    assert [one.name for one in tmp_path.iterdir()] == ["pt2"]


def test_without_the_extra_the_command_for_it_is_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(MissingExtraError, match=r"ONNX graphs need onnxscript, .*tips-med\[onnx\].*--to pt2"):
        write_graphs(model, tmp_path / "onnx", "onnx")


def test_towers_of_another_kind_are_refused(model, tmp_path):
    class Other(ImageTower):
        name = "other-1"

        def encode(self, slabs, progress=None):
            raise NotImplementedError

    with pytest.raises(WeightsError, match="compact model"):
        write_graphs(replace(model, image=Other()), tmp_path / "other", "pt2")
