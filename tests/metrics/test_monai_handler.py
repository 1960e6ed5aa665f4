"""Our metrics in MONAI's engines, in torchmetrics' collections, and MONAI's own beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

pytest.importorskip("ignite", reason="needs tips-med[monai]")

from monai.data.meta_tensor import MetaTensor
from monai.data.utils import list_data_collate
from monai.engines.evaluator import SupervisedEvaluator
from monai.handlers.mean_dice import MeanDice
from monai.handlers.utils import from_engine

from tips_med.metrics import GlobalDice, HitRate, InstanceDetection, PointingGame
from tips_med.metrics.monai_handler import CaseMetricHandler


class Same(torch.nn.Module):
    def forward(self, x):
        return x


def batches():
    """Two batches of two cases, scores from 0 to 1 and their truths."""
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(4, 1, 6, 8, 8, generator=generator) > 0.9).float()
    scores = (0.8 * label + 0.35 * torch.rand(label.shape, generator=generator)).clamp(0, 1)
    items = [
        {"image": MetaTensor(scores[n], meta={"patient": f"p{n // 2}"}), "label": MetaTensor(label[n])}
        for n in range(4)
    ]
    return [list_data_collate(items[:2]), list_data_collate(items[2:])], scores, label


def evaluated(handlers, **more):
    data, scores, label = batches()
    evaluator = SupervisedEvaluator(torch.device("cpu"), data, Same(), val_handlers=handlers, **more)
    evaluator.run()
    evaluator.run()  # cases of the run before are forgotten
    return evaluator.state.metrics, scores, label


def test_an_engine_gives_what_the_metric_gives():
    of = from_engine(["pred", "label"])
    dice, pointing = GlobalDice(), PointingGame()
    handlers = [
        CaseMetricHandler(dice, of, prefix="val_", patient_key="patient"),
        CaseMetricHandler(pointing, of, threshold=None),
    ]
    made, scores, label = evaluated(handlers, key_val_metric={"monai_dice": MeanDice(output_transform=halved)})
    expected = GlobalDice()
    for n in range(4):
        expected.update((scores[n, 0] > 0.5).numpy(), (label[n, 0] > 0.5).numpy(), patient=f"p{n // 2}")
    assert made["val_dice"] == pytest.approx(float(expected.compute()["dice"]))
    assert made["val_dice"] == pytest.approx(made["monai_dice"], abs=1e-5)  # MONAI's own agrees
    assert made["pointing"] == 1.0
    assert dice.cases == 4
    assert dice.intervals()["dice"] == expected.intervals()["dice"]  # drawn over patients


def halved(output):
    pairs = [((item["pred"] > 0.5).float(), item["label"]) for item in output]
    return [pred for pred, _ in pairs], [label for _, label in pairs]


def test_a_collection_of_torchmetrics_takes_them():
    collection = MetricCollection([GlobalDice(), HitRate(), InstanceDetection(min_voxels=1)])
    truth = np.zeros((4, 8, 8), bool)
    truth[1:3, 2:6, 2:6] = True
    collection.update(truth, truth, patient="a")
    collection.update(np.roll(truth, 1, axis=2), truth, patient="b")
    values = collection.compute()
    assert float(values["dice"]) == 0.875
    assert float(values["hit_rate"]) == 1.0
    assert float(values["f1"]) == 1.0
