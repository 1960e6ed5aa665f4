"""AdamW with a learning rate that rises, and then falls to nought at the last step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from tips_med.training.task import Recipe


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
