"""AdamW with a learning rate that rises, and then falls to nought at the last step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How the networks are optimised.

    Attributes:
        steps: Of the whole training; the learning rate falls to nought at the last one (cosine).
        warmup: Steps over which it rises.
        learning_rate: At its highest.
        weight_decay: Of AdamW, for weights of two and more dimensions.
        word_weight: Of the maps of single words beside those of phrases.
        patch_weight: Of the patch scores beside the fine maps.
        presence_weight: Of the surest places inside and outside, which decide between present and absent.
    """

    steps: int = 4000
    warmup: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    word_weight: float = 0.3
    patch_weight: float = 0.5
    presence_weight: float = 0.15


def adamw_with_cosine(parameters: Iterable[nn.Parameter], recipe: Recipe) -> dict[str, object]:
    """What Lightning's ``configure_optimizers`` gives.

    Args:
        parameters: Those that require no gradient are left out; only those of two and more dimensions decay.
        recipe: How.
    """
    learning = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )

    def rate(step: int) -> float:
        rising = min(1.0, (step + 1) / recipe.warmup)
        return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
