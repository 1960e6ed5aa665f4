from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tips_med.encoders.tips.convert import read_npz
from tips_med.encoders.tips.layout import HEADS
from tips_med.encoders.tips.weights import load_tips, save_tips
from tips_med.errors import MissingExtraError, OutputError, WeightsError


@pytest.fixture
def folder(tips_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tips_folder, tmp_path / "tips"))


def one_line(error: pytest.ExceptionInfo[WeightsError], code: str) -> None:
    assert error.value.code == code
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_both_towers_share_a_name_that_changes_with_the_weights_and_the_mode(tips_folder: Path, folder: Path) -> None:
    towers = load_tips(tips_folder)
    assert towers.image.name == towers.text.name == f"tips-w32-value@{towers.weights_sha256[:8]}"
    assert load_tips(tips_folder, mode="final").image.name != towers.image.name
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_encoder.norm.bias"][0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert load_tips(folder).image.name != towers.image.name


def test_loading_and_saving_write_nothing_to_the_terminal(
    tips_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_tips(load_tips(tips_folder), tmp_path / "again")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there_suggests_the_hub_only_by_its_explicit_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _forbid_network(monkeypatch)
    with pytest.raises(WeightsError, match="hf://google/tipsv2-b14") as caught:
        load_tips("google/tipsv2-b14")
    one_line(caught, "missing-weights")
    with pytest.raises(WeightsError) as caught:
        load_tips(tmp_path / "nowhere")
    assert "hf://" not in str(caught.value)


def test_a_hub_name_is_downloaded_and_then_read_like_a_folder(
    tips_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        assert "*.py" not in allow_patterns
        return str(tips_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert load_tips("hf://google/tipsv2-b14", revision="abc").temperature == pytest.approx(0.00478)
    assert asked == [("google/tipsv2-b14", "abc")]


def test_without_a_network_the_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _forbid_network(monkeypatch)
    with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
        load_tips("hf://google/tipsv2-b14")
    one_line(caught, "missing-weights")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=name.split(".")[0]) as caught:
        load_tips(folder)
    one_line(caught, "missing-weights")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_one_clear_line(name: str, part: float, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(WeightsError) as caught:
        load_tips(folder)
    one_line(caught, "damaged-weights")


def test_a_truncated_sentencepiece_model_is_not_read_by_another_reader(folder: Path, tokenizer_model: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    shutil.copyfile(tokenizer_model, folder / "tokenizer.model")
    assert load_tips(folder).text.embed(["left lung"])[0].words == ("left", "lung")
    whole = tokenizer_model.read_bytes()
    (folder / "tokenizer.model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="SentencePiece") as caught:
        load_tips(folder)
    one_line(caught, "damaged-weights")


def test_npz_files_in_the_folder_point_to_the_converter(npz_pair: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsError, match="convert_npz"):
        load_tips(npz_pair[0].parent)


def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(WeightsError, match="'siglip'.*'tipsv2'") as caught:
        load_tips(folder)
    one_line(caught, "other-model")


@pytest.mark.parametrize("change", ["missing", "left over", "reshaped"])
def test_weights_that_do_not_fit_the_config_are_refused(change: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    if change == "missing":
        del tensors["vision_encoder.blocks.1.norm1.bias"]
    elif change == "left over":
        tensors["vision_encoder.head.weight"] = torch.zeros(2)
    else:
        tensors["text_encoder.ln_final.bias"] = torch.zeros(31)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_tips(folder)
    one_line(caught, "other-model")


def test_values_that_are_not_finite_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_encoder.norm.bias"][0] = torch.inf
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="not finite"):
        load_tips(folder)


def test_nonsense_in_the_config_is_one_clear_line(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_size"] = "wide"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError) as caught:
        load_tips(folder)
    one_line(caught, "damaged-weights")


def test_the_authors_flat_config_is_read_with_its_own_temperature(
    folder: Path, tips_folder: Path, npz_pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers would take it for b14 with b14's temperature; sizes come from the weights instead."""
    monkeypatch.setitem(HEADS, 32, 2)
    tensors: dict[str, torch.Tensor] = {}
    for prefix, npz in zip(("vision_encoder.", "text_encoder."), npz_pair, strict=True):
        tensors |= {prefix + name: tensor for name, tensor in read_npz(npz).items() if name != "temperature"}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    flat = {
        "model_type": "tipsv2",
        "vision_fn": "vit_tiny",
        "embed_dim": 32,
        "text_num_heads": 2,
        "temperature": 0.0036,
    }
    (folder / "config.json").write_text(json.dumps(flat))
    found, expected = load_tips(folder), load_tips(tips_folder)
    assert found.temperature == pytest.approx(0.0036)
    pixels = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(found.image.patch_tokens(pixels), expected.image.patch_tokens(pixels))
    del flat["temperature"]
    (folder / "config.json").write_text(json.dumps(flat))
    with pytest.raises(WeightsError, match="no temperature"):
        load_tips(folder)


def test_a_tokenizer_with_more_tokens_than_the_tower_is_refused(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"extra{n}": len(vocabulary) + n for n in range(100)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(WeightsError, match="at most the 400 tokens") as caught:
        load_tips(folder)
    one_line(caught, "other-model")


@pytest.mark.parametrize("found", [None, "4.57.0"])
def test_a_missing_or_old_extra_is_one_clear_line(
    found: str | None, tips_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if found is None:
        monkeypatch.setitem(sys.modules, "transformers", None)
    else:
        monkeypatch.setattr("transformers.__version__", found)
    with pytest.raises(MissingExtraError, match=r"pip install 'tips-med\[tips\]'") as caught:
        load_tips(tips_folder)
    assert caught.value.code == "missing-extra"
    assert "\n" not in str(caught.value)


def test_saved_towers_load_again(tips_folder: Path, tmp_path: Path) -> None:
    towers = load_tips(tips_folder)
    with torch.no_grad():
        towers.image.net.layernorm.bias.add_(0.5)
    again = load_tips(save_tips(towers, tmp_path / "tuned"))
    torch.testing.assert_close(again.image.net.layernorm.bias, towers.image.net.layernorm.bias)
    assert again.temperature == pytest.approx(towers.temperature)
    assert again.text.embed(["left lung"])[0].words == ("left", "lung")
    with pytest.raises(OutputError):
        save_tips(towers, tmp_path / "tuned")


@pytest.mark.tips_weights
@pytest.mark.skipif("TIPS_WEIGHTS" not in os.environ, reason="TIPS_WEIGHTS names no folder of genuine weights")
def test_genuine_weights_load_and_tell_a_dog_from_a_car() -> None:
    """Only sanity: a published folder loads strictly and ranks its own kind of phrases apart."""
    towers = load_tips(os.environ["TIPS_WEIGHTS"])
    dog, puppy, car = (found.pooled[0] for found in towers.text.embed(["dog", "puppy", "car"]))
    assert float(dog @ puppy) > float(dog @ car)
    assert 0.001 < towers.temperature < 0.05
    with torch.no_grad():
        tokens = towers.image.tokens(torch.full((1, 3, 448, 448), 0.5))
    assert tokens.patches.shape[1:3] == (32, 32)
    assert bool(torch.isfinite(tokens.patches).all())


def _forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
