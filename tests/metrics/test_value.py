from __future__ import annotations

import warnings

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from tips_med.metrics import GlobalDice, InstanceDetection, MetricInputError, MetricValue, PointingGame


def cases():
    truth = torch.zeros(4, 1, 4, 8, 8, dtype=torch.bool)
    truth[:, :, 1:3, 2:6, 2:6] = True
    mask = torch.stack([torch.roll(one, n, -1) for n, one in enumerate(truth)])
    return mask, truth


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.dice = MetricValue(GlobalDice(), "dice")
        self.f1 = MetricValue(InstanceDetection(), "f1")

    def validation_step(self, batch, number):
        mask, truth = batch
        self.dice.update(mask, truth)
        self.log("val_dice", self.dice)
        self.log("val_f1", self.f1(mask, truth), on_epoch=True)

    def configure_optimizers(self):
        return None


def test_lightning_logs_it_over_all_batches_and_forgets_it_between_epochs():
    mask, truth = cases()
    loader = DataLoader(list(zip(mask, truth)), batch_size=3)
    module = Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning: few workers
        trainer = lightning.Trainer(
            logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
        )
        for _ in range(2):
            (logged,) = trainer.validate(module, loader, verbose=False)
    expected = GlobalDice()
    expected.update(mask, truth)
    assert logged["val_dice"] == pytest.approx(float(expected.compute()["dice"]))
    assert 0 < logged["val_f1"] <= 1
    assert module.dice.metric.cases == 0


def test_before_the_first_case_it_is_not_a_number():
    value = MetricValue(PointingGame(), "pointing")
    empty = np.zeros((2, 3, 4), bool)
    value.update(np.zeros((2, 3, 4), np.float32), empty)
    assert np.isnan(float(value.compute()))
    value.update(np.ones((2, 3, 4), np.float32), ~empty)
    assert float(value.compute()) == 1.0


def test_a_name_that_the_metric_has_not_is_told():
    value = MetricValue(GlobalDice(), "f1")
    value.update(*(one[0] for one in cases()))
    with pytest.raises(MetricInputError, match=r"no value 'f1'; expected dice, dice_present"):
        value.compute()


def test_it_goes_into_a_collection():
    both = MetricCollection({"dice": MetricValue(GlobalDice(), "dice"), "f1": MetricValue(InstanceDetection(), "f1")})
    both.update(*cases())
    assert set(both.compute()) == {"dice", "f1"}
