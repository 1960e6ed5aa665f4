"""AdamW with a learning rate that rises, and then falls to zero at the last step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerConfig:
    """How the networks are optimised.

    Attributes:
        steps: Number of optimizer steps of the whole training; the learning rate falls to zero at the last one
            (cosine).
        warmup: Number of steps over which the learning rate rises.
        learning_rate: Highest learning rate.
        weight_decay: Weight decay of AdamW, for weights of two and more dimensions.
        word_weight: Weight of the maps of single words beside those of phrases.
        patch_weight: Weight of the patch scores beside the fine maps.
        presence_weight: Weight of the surest places inside and outside, which decide between present and absent.
    """

    steps: int = 4000
    warmup: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    word_weight: float = 0.3
    patch_weight: float = 0.5
    presence_weight: float = 0.15


def adamw_with_cosine(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> dict[str, object]:
    """What Lightning's ``configure_optimizers`` gives.

    Args:
        parameters: Parameters; those without a gradient are left out; only those of two and more dimensions decay.
        config: Steps, learning rate and decay.
    """
    learning = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )

    def rate(step: int) -> float:
        rising = min(1.0, (step + 1) / config.warmup)
        return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
