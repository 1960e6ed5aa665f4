from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tips_med.encoders.tips.image import TipsEncoder
from tips_med.encoders.tips.text import TipsTextTower
from tips_med.encoders.tips.tuning import FineTuning, count, has_lora, merge_lora, prepare_finetuning
from tips_med.encoders.tips.weights import TipsTowers, load_tips, save_tips
from tips_med.errors import ConfigError, MissingExtraError, WeightsError


@pytest.fixture
def towers(tips_folder: Path) -> TipsTowers:
    return load_tips(tips_folder)


def loss_of(tower: TipsEncoder | TipsTextTower) -> torch.Tensor:
    """Something that every kind of fine-tuning can lower: a direction for all patches, or phrases."""
    if isinstance(tower, TipsEncoder):
        pixels = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
        found = tower.patch_tokens(pixels).flatten(0, 2)
    else:
        found = tower.tokens(["left lung", "pleural effusion"])[1]
    goal = torch.randn(found.shape[-1], generator=torch.Generator().manual_seed(1))
    return 1 - functional.cosine_similarity(found, goal[None], dim=-1).mean()


@pytest.mark.parametrize("side", ["image", "text"])
@pytest.mark.parametrize(
    "how",
    [FineTuning("lora", rank=2), FineTuning("full"), FineTuning("full", last_blocks=1, checkpointing=True)],
    ids=["lora", "full", "last block"],
)
def test_training_lowers_the_loss_and_moves_only_what_was_chosen(
    how: FineTuning, side: str, towers: TipsTowers
) -> None:
    tower = getattr(towers, side)
    parameters = prepare_finetuning(tower, how)
    before = {name: value.clone() for name, value in tower.net.state_dict().items()}
    chosen = {name for name, value in tower.net.named_parameters() if value.requires_grad}
    assert len(chosen) == len(parameters) > 0
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    tower.net.train()
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = loss_of(tower)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05
    moved = {name for name, value in tower.net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= chosen


def test_freezing_trains_nothing(towers: TipsTowers) -> None:
    assert prepare_finetuning(towers.image, "freeze") == []
    assert not any(parameter.requires_grad for parameter in towers.image.net.parameters())


def test_lora_begins_as_the_tower_it_was_and_is_small(towers: TipsTowers) -> None:
    before = loss_of(towers.image).item()
    total = count(towers.image.net.parameters())
    learnt = prepare_finetuning(towers.image, FineTuning("lora", rank=2))
    assert loss_of(towers.image).item() == pytest.approx(before, abs=1e-6)
    # Two blocks, four projections, two matrices of 32 x 2 each.
    assert count(learnt) == 2 * 4 * 2 * 32 * 2
    assert count(learnt) < 0.1 * total


def test_lora_can_be_kept_to_the_last_blocks(towers: TipsTowers) -> None:
    prepare_finetuning(towers.image, FineTuning("lora", rank=2, last_blocks=1))
    names = [name for name, value in towers.image.net.named_parameters() if value.requires_grad]
    assert names
    assert all(name.startswith("encoder.layer.1.") for name in names)


@pytest.mark.parametrize("side", ["image", "text"])
def test_merging_keeps_what_lora_learnt_and_leaves_a_plain_tower(side: str, towers: TipsTowers, tmp_path: Path) -> None:
    tower = getattr(towers, side)
    names = list(tower.net.state_dict())
    for parameter in prepare_finetuning(tower, FineTuning("lora", rank=2)):
        with torch.no_grad():
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    tower.net.eval()
    learnt = loss_of(tower).item()
    with pytest.raises(WeightsError, match="merge_lora"):
        save_tips(towers, tmp_path / "early")
    with pytest.raises(ConfigError, match="merge_lora"):
        prepare_finetuning(tower, "full")
    merge_lora(tower)
    assert not has_lora(tower.net)
    assert list(tower.net.state_dict()) == names
    assert loss_of(tower).item() == pytest.approx(learnt, abs=1e-5)
    again = load_tips(save_tips(towers, tmp_path / "tuned"))
    assert loss_of(getattr(again, side)).item() == pytest.approx(learnt, abs=1e-5)
    merge_lora(tower)  # a plain tower is left as it is


@pytest.mark.parametrize(
    "arguments",
    [{"mode": "some"}, {"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"last_blocks": 0}],
)
def test_values_that_mean_nothing_are_refused(arguments: dict[str, object]) -> None:
    # A TypeError where types are checked while the tests run.
    with pytest.raises((ConfigError, TypeError)):
        FineTuning(**arguments)  # type: ignore[arg-type]


def test_more_blocks_than_there_are_is_refused(towers: TipsTowers) -> None:
    with pytest.raises(ConfigError, match="last 3 blocks of 2"):
        prepare_finetuning(towers.image, FineTuning("full", last_blocks=3))


def test_lora_without_peft_is_one_clear_line(towers: TipsTowers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tips-med\[tips\]'") as caught:
        prepare_finetuning(towers.image, "lora")
    assert caught.value.code == "missing-extra"
    assert prepare_finetuning(towers.image, "full")
