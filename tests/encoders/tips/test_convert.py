from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.tips.checkpoints import (
    HEADS,
    VOCABULARY,
    fill_at_random,
    text_shapes,
    vision_shapes,
    write_npz,
)
from tips_med.encoders.tips.convert import convert_npz, model_from_npz, read_npz, rename
from tips_med.encoders.tips.layout import (
    TextLayout,
    VisionLayout,
    text_layout,
    text_tensors,
    tips_config,
    vision_layout,
    vision_tensors,
)
from tips_med.encoders.tips.weights import load_tips
from tips_med.errors import OutputError, WeightsError

Pair = tuple[Path, Path]


def test_sizes_are_read_off_the_shapes() -> None:
    vision, text = vision_layout(vision_shapes(), HEADS), text_layout(text_shapes(), HEADS)
    assert (vision.width, vision.layers, vision.hidden, vision.grid, vision.patch) == (32, 2, 128, 4, 14)
    assert (vision.registers, vision.swiglu) == (1, False)
    assert (text.width, text.layers, text.hidden, text.vocabulary) == (32, 2, 64, 50)
    assert vision_layout(vision_shapes(swiglu=True), HEADS).swiglu


@pytest.mark.parametrize(("width", "heads", "hidden"), [(384, 6, 1536), (1152, 16, 4304), (1536, 24, 4096)])
def test_published_widths_know_their_heads(width: int, heads: int, hidden: int) -> None:
    swiglu = width == 1536
    mlp = {"blocks.0.mlp.w12.weight": (2 * hidden, width)} if swiglu else {"blocks.0.mlp.fc1.weight": (hidden, width)}
    layout = vision_layout(
        {
            "patch_embed.proj.weight": (width, 3, 14, 14),
            "pos_embed": (1, 1025, width),
            "register_tokens": (1, 1, width),
            **mlp,
        }
    )
    assert (layout.heads, layout.grid, layout.hidden) == (heads, 32, hidden)


@pytest.mark.parametrize(
    ("vision", "text", "published_millions"),
    [
        (VisionLayout(384, 12, 6, 1536, False, 1, 16, 14), TextLayout(384, 12, 6, 1536, 32000), (21.6, 33.6)),
        (VisionLayout(768, 12, 12, 3072, False, 1, 16, 14), TextLayout(768, 12, 12, 3072, 32000), (85.7, 109.6)),
        (VisionLayout(1024, 24, 16, 4096, False, 1, 16, 14), TextLayout(1024, 12, 16, 4096, 32000), (303.2, 183.9)),
        (VisionLayout(1152, 27, 16, 4304, False, 1, 16, 14), TextLayout(1152, 27, 16, 4304, 32000), (412.4, 448.3)),
        (VisionLayout(1536, 40, 24, 4096, True, 1, 16, 14), TextLayout(1536, 12, 24, 6144, 32000), (1100, 389.1)),
    ],
    ids=["s14", "b14", "l14", "so400m14", "g14"],
)
def test_published_variants_have_as_many_parameters_as_their_readme_says(
    vision: VisionLayout, text: TextLayout, published_millions: tuple[float, float]
) -> None:
    found = [
        sum(int(np.prod(each.shape)) for each in tensors.values()) / 1e6
        for tensors in (vision_tensors(vision), text_tensors(text))
    ]
    # The README rounds g14's image tower to 1.1B, and counts a grid of 16 x 16.
    assert found[0] == pytest.approx(published_millions[0], rel=0.04 if vision.swiglu else 2e-3)
    assert found[1] == pytest.approx(published_millions[1], abs=0.06)
    config = tips_config(vision, text, 0.005).to_dict()
    assert (config["vision_config"]["image_size"], config["text_config"]["intermediate_size"]) == (224, text.hidden)


def test_every_published_tensor_has_one_place_and_every_place_a_tensor(npz_pair: Pair) -> None:
    vision, text = (read_npz(path) for path in npz_pair)
    del text["temperature"]
    model = model_from_npz(*npz_pair, heads=HEADS)
    for tensors, layout, net in (
        (vision, vision_tensors(vision_layout({k: tuple(v.shape) for k, v in vision.items()}, HEADS)), "vision_model"),
        (text, text_tensors(text_layout({k: tuple(v.shape) for k, v in text.items()}, HEADS)), "text_model"),
    ):
        state = rename(tensors, layout)
        assert state.keys() == getattr(model, net).state_dict().keys()
        assert sum(t.numel() for t in state.values()) == sum(t.numel() for t in tensors.values())


def test_a_converted_folder_holds_the_same_weights_and_temperature(npz_pair: Pair, tips_folder: Path) -> None:
    model, towers = model_from_npz(*npz_pair, heads=HEADS), load_tips(tips_folder)
    for net, expected in ((towers.image.net, model.vision_model), (towers.text.net, model.text_model)):
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(net.state_dict()[name], tensor, rtol=0, atol=0)
    assert towers.temperature == pytest.approx(0.00478, rel=1e-6)


@pytest.mark.parametrize("tower", [0, 1])
@pytest.mark.parametrize("change", ["missing", "left over", "reshaped", "block missing"])
def test_conversion_is_strict(change: str, tower: int, npz_pair: Pair, tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in read_npz(npz_pair[tower]).items()}
    norm, block = ("norm.bias", "blocks.0.") if tower == 0 else ("ln_final.bias", "transformer.resblocks.0.")
    if change == "missing":
        del arrays[norm]
    elif change == "left over":
        arrays["head.weight"] = np.zeros(3, np.float32)
    elif change == "reshaped":
        arrays[norm] = arrays[norm][:-1]
    else:
        arrays = {name: array for name, array in arrays.items() if not name.startswith(block)}
    broken = write_npz(tmp_path / "broken.npz", arrays)
    pair = (broken, npz_pair[1]) if tower == 0 else (npz_pair[0], broken)
    with pytest.raises(WeightsError) as caught:
        model_from_npz(*pair, heads=HEADS)
    assert caught.value.code == "other-model"
    assert caught.value.path == broken
    assert "\n" not in str(caught.value)


def test_exchanged_towers_say_so(npz_pair: Pair) -> None:
    with pytest.raises(WeightsError, match="exchanged") as caught:
        model_from_npz(npz_pair[0], npz_pair[0], heads=HEADS)
    assert caught.value.path == npz_pair[0]
    with pytest.raises(WeightsError, match="exchanged") as caught:
        model_from_npz(npz_pair[1], npz_pair[1], heads=HEADS)
    assert caught.value.path == npz_pair[1]


def test_a_text_tower_without_its_temperature_is_refused(npz_pair: Pair, tmp_path: Path) -> None:
    text = write_npz(tmp_path / "text.npz", fill_at_random(text_shapes(VOCABULARY), 2))
    with pytest.raises(WeightsError, match="no temperature"):
        model_from_npz(npz_pair[0], text, heads=HEADS)


def test_a_scenic_checkpoint_is_named(npz_pair: Pair, tmp_path: Path) -> None:
    scenic = write_npz(tmp_path / "scenic.npz", {"params/encoder/kernel": np.zeros((2, 2), np.float32)})
    with pytest.raises(WeightsError, match="Scenic"):
        model_from_npz(scenic, npz_pair[1], heads=HEADS)


def test_an_unpublished_width_asks_for_its_heads(npz_pair: Pair) -> None:
    with pytest.raises(WeightsError, match="number of attention heads"):
        model_from_npz(*npz_pair)
    with pytest.raises(WeightsError, match="divisor"):
        model_from_npz(*npz_pair, heads=5)


def test_towers_of_two_models_do_not_go_together(npz_pair: Pair, tmp_path: Path) -> None:
    wide = {
        key: tuple(64 if n == 32 else 192 if n == 96 else n for n in shape)
        for key, shape in text_shapes(VOCABULARY).items()
    }
    other = write_npz(tmp_path / "other.npz", fill_at_random(wide, 3), temperature=np.float32(0.005))
    with pytest.raises(WeightsError, match="width 32 with a text tower of width 64"):
        model_from_npz(npz_pair[0], other, heads=HEADS)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_npz_is_one_clear_line(keep: float, npz_pair: Pair, tmp_path: Path) -> None:
    whole = npz_pair[0].read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(WeightsError) as caught:
        read_npz(cut)
    assert caught.value.code == "damaged-weights"
    assert "\n" not in str(caught.value)


def test_an_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(WeightsError):
        read_npz(tmp_path / "objects.npz")


def test_values_that_are_not_finite_are_refused(npz_pair: Pair, tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in read_npz(npz_pair[0]).items()}
    arrays["norm.bias"][3] = np.nan
    with pytest.raises(WeightsError, match="norm.bias holds values that are not finite"):
        read_npz(write_npz(tmp_path / "nan.npz", arrays))


def test_half_precision_checkpoints_are_read(npz_pair: Pair, tmp_path: Path) -> None:
    arrays = {name: tensor.numpy().astype(np.float16) for name, tensor in read_npz(npz_pair[0]).items()}
    assert all(tensor.dtype == torch.float32 for tensor in read_npz(write_npz(tmp_path / "h.npz", arrays)).values())


def test_a_folder_that_holds_something_is_left_alone(npz_pair: Pair, tokenizer_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something"):
        convert_npz(*npz_pair, tokenizer_model, tmp_path, heads=HEADS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_conversion_leaves_nothing_behind(npz_pair: Pair, tmp_path: Path) -> None:
    bad = tmp_path / "tokenizer.model"
    bad.write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="SentencePiece"):
        convert_npz(*npz_pair, bad, tmp_path / "new" / "model", heads=HEADS)
    assert not (tmp_path / "new").exists()
