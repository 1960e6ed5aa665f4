from __future__ import annotations

import pytest
import torch

from tips_med.errors import ConfigError
from tips_med.training.objectives.base import CELL, Momentum, Scaling
from tips_med.training.objectives.clip import Clip


def test_a_weak_batch_holds_neither_masks_nor_boxes(batch):
    weak = batch.weak()
    with pytest.raises(ConfigError, match="no masks"):
        weak.outlined()
    with pytest.raises(ConfigError, match="no boxes"):
        weak.boxed()
    assert torch.equal(weak.words, batch.words)


def test_relation_and_presence_follow_the_table_of_truth(batch):
    assert batch.present.tolist() == [[1, 1, 0]] * 3
    assert batch.relation.shape == (3, 9)
    assert batch.relation[0].tolist() == [1, 1, -1] * 3


def test_crops_that_are_encoded_with_a_gradient_are_counted(towers, batch):
    towers.look(batch.pixels, batch.offset_mm)
    with torch.no_grad():
        view = towers.look(batch.pixels, batch.offset_mm)
    assert towers.seen == 3
    assert view.cells.shape == (3, 1, 32 // CELL, 48 // CELL, towers.width)
    assert view.tokens.shape == (3, 96, towers.width)


def test_words_keep_their_place_whatever_the_batch(towers, batch):
    alone, together = towers.read(batch.words[0, :1]), towers.read(batch.words)
    assert torch.allclose(alone.pooled[0], together.pooled[0, 0], atol=1e-5)
    assert together.padding[0, 1].tolist() == [False, False, True]


def test_momentum_keeps_half_after_a_half_life(towers):
    objective = Clip(towers)
    slow = Momentum(objective.projections, 3.0)
    start = slow.copy.of_image.weight.clone()
    with torch.no_grad():
        objective.projections.of_image.weight += 1
    for _ in range(3):
        slow.follow(objective.projections)
    assert torch.allclose(slow.copy.of_image.weight - start, torch.full_like(start, 0.5), atol=1e-5)
    assert not any(p.requires_grad for p in slow.parameters())


def test_constants_in_steps_are_kept_but_are_a_tenth_of_the_training_at_most():
    assert Scaling(100_000).batches(128) == 128
    assert Scaling(400).batches(128) == 40
    assert Scaling(3).batches(128) == 1
    assert Scaling(100_000).half_life(0.995) == pytest.approx(138.28, abs=0.01)
    assert Scaling(400).half_life(0.995) == 40
