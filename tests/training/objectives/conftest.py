from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.alignment.data import SPEC, Crop, make_crops
from tips_med.encoders.compact import CompactConfig
from tips_med.training.objectives.base import AlignmentBatch, SharedTowers

TINY = CompactConfig(SPEC, (8, 8, 16, 16, 16), (0, 0, 1, 1, 1), 1, heads=4, patch_width=16, fine_width=8)
WORDS = ("nodule", "mass", "left", "right", "lung", "in", "the")


@pytest.fixture(scope="session")
def crops() -> list[Crop]:
    """40 painted crops of two torsos."""
    return make_crops(2, "train", (900, 901), 40)


@pytest.fixture
def towers() -> SharedTowers:
    torch.manual_seed(0)
    return SharedTowers(TINY, WORDS, layers=1)


@pytest.fixture
def batch() -> AlignmentBatch:
    """Three crops of 32 x 48 with three sentences each; the last of each is false, the first two have boxes."""
    generator = torch.Generator().manual_seed(0)
    crops, sentences, rows, columns = 3, 3, 32, 48
    box = torch.full((crops, sentences, 4), torch.nan)
    target = torch.zeros(crops, sentences, 1, rows, columns)
    pixels = torch.rand(crops, 1, SPEC.channels, rows, columns, generator=generator)
    for crop in range(crops):
        for sentence in range(2):
            y, x = 4 + 4 * crop, 4 + 20 * sentence
            target[crop, sentence, 0, y : y + 12, x : x + 16] = 1
            box[crop, sentence] = torch.tensor([x / columns, y / rows, (x + 16) / columns, (y + 12) / rows])
            pixels[crop, :, sentence, y : y + 12, x : x + 16] += 2
    words = torch.tensor([[1, 3, 5], [2, 4, 0], [1, 4, 0]]).expand(crops, -1, -1).clone()
    truth = torch.tensor([[1, 1, -1, 0]]).expand(crops, -1).clone()
    meaning = torch.tensor([[0, 1, 2]]).expand(crops, -1).clone()
    return AlignmentBatch(
        pixels, torch.zeros(crops, 2), words, meaning, truth, target, torch.ones_like(target), box
    )  # fmt: skip


@pytest.fixture
def learn(batch: AlignmentBatch) -> Callable[..., list[float]]:
    """Trains an objective on the batch; gives the total loss, step after step."""

    def run(objective, steps: int = 16, rate: float = 2e-3) -> list[float]:
        torch.manual_seed(1)
        optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], rate)
        totals = []
        for step in range(steps):
            objective.at(step / steps)
            given = batch if objective.dense else batch.weak()
            terms = objective.loss(given, objective.towers.look(batch.pixels, batch.offset_mm))
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=False)  # what ever had a gradient still shows it
            loss.backward()
            optimizer.step()
            objective.after_step()
            totals.append(float(loss.detach()))
        return totals

    return run
