"""Metrics of this package in MONAI's and Ignite's engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tips_med.metrics.base import CaseMetric


class CaseMetricHandler:
    """Feeds a metric with every item of an engine's output, and puts its values into ``engine.state.metrics``.

    It goes into the ``handlers`` of a MONAI evaluator or trainer, also from a configuration. Values are there once an
    epoch ends, for ``StatsHandler``, ``MetricsSaver`` or ``CheckpointSaver`` that stand behind it.

    Args:
        metric: Of masks and truths (``GlobalDice``, ``InstanceDetection``), or of maps and truths (``PointingGame``).
        output_transform: Gives lists of predictions and of labels from the engine's output, each [channel, three
            axes]: ``monai.handlers.from_engine(["pred", "label"])``. Each channel is a case.
        prefix: Before the names of the values.
        threshold: Predictions above it are in the mask; None to give them as they are, to metrics of maps.
        patient_key: Key of ``meta`` of a prediction that holds the patient, whose cases are drawn together when
            intervals are; None where each case is a patient.
    """

    def __init__(
        self,
        metric: CaseMetric,
        output_transform: Callable[[Any], tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]],
        prefix: str = "",
        threshold: float | None = 0.5,
        patient_key: str | None = None,
    ) -> None:
        self.metric, self.output_transform, self.prefix = metric, output_transform, prefix
        self.threshold, self.patient_key = threshold, patient_key

    def attach(self, engine: Any) -> None:
        """Listens to an engine; MONAI calls it."""
        from ignite.engine import Events  # an engine is there, and so is Ignite

        engine.add_event_handler(Events.EPOCH_STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def started(self, engine: Any) -> None:
        """Forgets the cases of the last epoch."""
        del engine
        self.metric.reset()

    def iteration_completed(self, engine: Any) -> None:
        """Adds the items of a batch."""
        predictions, labels = self.output_transform(engine.state.output)
        for prediction, label in zip(predictions, labels):
            patient = None
            if self.patient_key is not None:
                patient = str(getattr(prediction, "meta", {})[self.patient_key])
            for channel, truth in zip(_array(prediction), _array(label)):
                case = channel if self.threshold is None else channel > self.threshold
                self.metric.update(case, truth > 0.5, patient=patient)

    def epoch_completed(self, engine: Any) -> None:
        """Writes the values, by name."""
        values = self.metric.compute()
        engine.state.metrics.update({f"{self.prefix}{name}": float(value) for name, value in values.items()})


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
