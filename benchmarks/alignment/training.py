"""One training of one method: the same towers, crops, order and number of image forwards for all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.alignment.batches import Words, endless
from benchmarks.alignment.data import SPEC, Crop
from tips_med.encoders.compact import CompactConfig
from tips_med.training.objectives.base import Objective, SharedTowers
from tips_med.training.optimizer import OptimizerConfig, adamw_with_cosine

IMAGE = CompactConfig(
    SPEC, (16, 32, 48, 80, 128), (0, 1, 1, 1, 1), attention_blocks=2, heads=4, patch_width=64, fine_width=16
)
"""Sizes of the image tower of every method."""


@dataclass(frozen=True)
class Budget:
    """How long every method is trained.

    Attributes:
        forwards: Number of crops that are encoded with a gradient, whatever they are used for.
        batch: Number of crops of a batch.
        learning_rate: Highest learning rate.
        warmup: Share of the training over which it rises.
        bfloat16: Whether convolutions and products are computed in bfloat16 (mixed precision), for all methods alike.
    """

    forwards: int = 6400
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: float = 0.05
    bfloat16: bool = False

    def steps(self, views: int) -> int:
        """Number of steps of an objective that encodes a crop so many times a step."""
        return max(1, self.forwards // (self.batch * views))


def towers_of(words: Words, seed: int) -> SharedTowers:
    """Fresh towers, the same for the same seed."""
    torch.manual_seed(seed)
    return SharedTowers(IMAGE, words.vocabulary)


def fit(
    objective: Objective,
    crops: Sequence[Crop],
    words: Words,
    budget: Budget,
    seed: int,
    weak: bool,
    tell: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Trains an objective, and gives the terms of its loss, step after step.

    Args:
        objective: Objective, trained in place.
        crops: Crops to train on.
        words: Words that the towers know.
        budget: Length of the training.
        seed: Seed of the order of crops and of what an objective draws.
        weak: Whether masks and boxes are kept from it.
        tell: Called with a line now and then.
    """
    torch.manual_seed(seed)
    objective.train()
    config = OptimizerConfig(learning_rate=budget.learning_rate)
    optimizer: torch.optim.Optimizer = adamw_with_cosine(objective.parameters(), config)["optimizer"]  # type: ignore[assignment]
    towers, history, begun = objective.towers, [], time.perf_counter()
    towers.seen = 0
    for batch in endless(crops, words, budget.batch, seed):
        done = towers.seen / budget.forwards
        if done >= 1:
            break
        rate = budget.learning_rate * min(1.0, (done + 1e-3) / budget.warmup) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        objective.at(done)
        given = batch.weak() if weak or not objective.dense else batch
        with torch.autocast("cpu", torch.bfloat16, enabled=budget.bfloat16):
            terms = objective.loss(given, towers.look(batch.pixels, batch.offset_mm))
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        objective.after_step()
        history.append({name: float(value.detach()) for name, value in {**terms, "loss": loss}.items()})
        if len(history) % 50 == 1:
            terms_text = " ".join(f"{name} {value:.3f}" for name, value in history[-1].items())
            tell(f"step {len(history)}, {time.perf_counter() - begun:.0f} s: {terms_text}")
    return history


def save_weights(objective: Objective, path: Path) -> None:
    """Writes the weights of an objective; what several of its modules share is written once."""
    own = {**dict(objective.named_parameters()), **dict(objective.named_buffers())}
    save_file({name: value.detach().contiguous() for name, value in own.items()}, path)


def load_weights(objective: Objective, path: Path) -> None:
    """Reads what ``save_weights`` wrote into an objective of the same kind."""
    own = {**dict(objective.named_parameters()), **dict(objective.named_buffers())}
    stored = load_file(path)
    if set(stored) != set(own):
        raise ValueError(f"{path} holds the weights of something else")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(stored[name])
