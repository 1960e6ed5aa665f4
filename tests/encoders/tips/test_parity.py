"""The published PyTorch code's own outputs, reproduced through key mapping, folder and towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.encoders.tips.checkpoints import HEADS, fill_by_rule, text_shapes, vision_shapes, write_npz
from tips_med.encoders.tips.convert import model_from_npz
from tips_med.encoders.tips.extra import quiet
from tips_med.encoders.tips.image import TipsEncoder
from tips_med.encoders.tips.weights import load_towers, read_config, weights_files

TOLERANCE = 2e-5
"""The golden values are rounded to five decimals."""


@pytest.fixture(scope="module", params=["npz", "folder"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both variants, straight from the npz files and by way of a folder."""
    made = {}
    for kind in ("mlp", "swiglu"):
        folder = tmp_path_factory.mktemp(kind)
        vision = write_npz(folder / "vision.npz", fill_by_rule(vision_shapes(kind == "swiglu")))
        text = write_npz(folder / "text.npz", fill_by_rule(text_shapes()), temperature=np.float32(0.005))
        model = model_from_npz(vision, text, heads=HEADS)
        if request.param == "folder":
            with quiet():
                model.save_pretrained(folder / "saved")
            files = weights_files(folder / "saved")
            model = load_towers(folder / "saved", read_config(folder / "saved", files))
        made[kind] = model
    return made


@pytest.mark.parametrize("case", ["mlp 56x56", "mlp 56x84", "swiglu 56x56"])
def test_image_tower_matches_the_published_code(case: str, models: dict[str, Any], golden: dict[str, Any]) -> None:
    kind, size = case.split()
    height, width = map(int, size.split("x"))
    pixels = 0.5 + 0.5 * np.sin(0.11 * np.arange(3 * height * width, dtype=np.float64))
    image = torch.from_numpy(pixels.reshape(1, 3, height, width).astype(np.float32))
    tower = TipsEncoder(models[kind].vision_model, "golden")
    with torch.no_grad():
        final, value = tower.tokens(image, "final"), tower.tokens(image, "value")
        only = {mode: tower.patch_tokens(image, mode) for mode in ("final", "value")}
    found = {
        "cls1": final.cls[0],
        "cls2": final.registers[0, 0],
        "patch_first": final.patches[0, 0, 0],
        "value_first": value.patches[0, 0, 0],
    }
    expected = golden["expected"][case]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][:4], values, rtol=0, atol=TOLERANCE, err_msg=f"{case} {name}")
    assert final.patches.shape == (1, height // 14, width // 14, 32)
    torch.testing.assert_close(only["final"], final.patches)
    torch.testing.assert_close(only["value"], value.patches)


def test_text_tower_matches_the_published_code(models: dict[str, Any], golden: dict[str, Any]) -> None:
    ids = torch.tensor(list(golden["text"]["inputs"].values()))
    with torch.no_grad():
        pooled = models["mlp"].text_model(input_ids=ids, attention_mask=(ids != 0).long()).pooler_output
    for row, name in enumerate(golden["text"]["inputs"]):
        np.testing.assert_allclose(pooled[row, :4], golden["expected"]["text"][name], rtol=0, atol=TOLERANCE)


def test_the_golden_file_has_no_case_left_out(golden: dict[str, Any]) -> None:
    assert set(golden["expected"]) == {"mlp 56x56", "mlp 56x84", "swiglu 56x56", "text"}


def test_parity_notices_a_wrong_order_of_query_key_and_value(tmp_path: Path, golden: dict[str, Any]) -> None:
    arrays = fill_by_rule(vision_shapes())
    for name in [name for name in arrays if ".attn.qkv." in name]:
        arrays[name] = np.roll(arrays[name], 32, axis=0)
    vision = write_npz(tmp_path / "vision.npz", arrays)
    text = write_npz(tmp_path / "text.npz", fill_by_rule(text_shapes()), temperature=np.float32(0.005))
    tower = TipsEncoder(model_from_npz(vision, text, heads=HEADS).vision_model, "golden")
    pixels = 0.5 + 0.5 * np.sin(0.11 * np.arange(3 * 56 * 56, dtype=np.float64))
    with torch.no_grad():
        cls = tower.tokens(torch.from_numpy(pixels.reshape(1, 3, 56, 56).astype(np.float32))).cls[0, :4]
    assert np.abs(cls.numpy() - golden["expected"]["mlp 56x56"]["cls1"]).max() > 100 * TOLERANCE
