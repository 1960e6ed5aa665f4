"""One value of a metric as a metric of its own, which Lightning logs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.wrappers.abstract import WrapperMetric

from tips_med.metrics.base import CaseMetric
from tips_med.metrics.inputs import MetricInputError


class MetricValue(WrapperMetric):
    """A single value of a metric, for ``self.log`` of a LightningModule.

    Lightning drops metrics that give several values without a word. In ``validation_step``::

        self.dice.update(mask, truth)  # self.dice = MetricValue(GlobalDice(), "dice"), made in __init__
        self.log("val_dice", self.dice)

    The value is NaN before the first case that defines it. Of the metric's other values, and of its intervals,
    ``metric`` knows.

    Args:
        metric: Metric of several values.
        name: Name of the value, as in ``metric.compute()``.

    Raises:
        MetricInputError: On ``compute``, when the metric has no such value.
    """

    def __init__(self, metric: CaseMetric, name: str) -> None:
        super().__init__()
        self.metric, self.name = metric, name

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Adds what ``metric.update`` takes."""
        self.metric.update(*args, **kwargs)

    def compute(self) -> Tensor:
        """The value over all cases, of all processes."""
        values = self.metric.compute()
        if values and self.name not in values:
            raise MetricInputError(
                f"{type(self.metric).__name__} has no value {self.name!r}", expected=", ".join(values)
            )
        return values[self.name] if values else torch.tensor(torch.nan)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Adds a batch, and gives the value of this batch alone."""
        values = self.metric(*args, **kwargs)
        return values[self.name] if values else torch.tensor(torch.nan)

    def reset(self) -> None:
        """Forgets all cases."""
        self.metric.reset()
        super().reset()
