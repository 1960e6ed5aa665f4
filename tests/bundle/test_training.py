"""The bundle's train.yaml trains, validates, keeps the best weights, and knows what nobody knows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("ignite", reason="needs tips-med[monai]")

from ignite.engine import Events
from monai.bundle.workflows import ConfigWorkflow

from tests.training.small import tiny_model, write_studies
from tips_med.bundle.export import write_bundle
from tips_med.bundle.training import KeepKnownd, PhraseCrops, PhraseLoss
from tips_med.errors import TipsMedError
from tips_med.loading import open_model
from tips_med.model import net_of_model


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tiny_model(tmp_path), tmp_path / "tiny_ct")


def test_it_learns_and_the_best_weights_are_kept(bundle, tmp_path):
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.yaml"), workflow_type="train", logging_file=False,
        bundle_root=str(bundle), manifest=str(write_studies(tmp_path)), epochs=2, steps=12, shape=[4, 32, 48],
        learning_rate=0.003,
    )  # fmt: skip
    before = open_model(str(bundle), "cpu")
    losses = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="(?!tips_med)")
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"].detach()))
        )
        workflow.run()
    evaluator = workflow.parser.get_parsed_content("validate#evaluator")
    assert len(losses) == 24
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    assert 0 <= evaluator.state.metrics["val_mean_dice"] <= 1
    (bundle / "train" / "model.pt").replace(bundle / "models" / "model.pt")
    after = open_model(str(bundle), "cpu")
    assert after.sha256 != before.sha256


def test_a_split_without_rows_is_a_line(bundle, tmp_path):
    net = net_of_model(open_model(str(bundle), "cpu"))
    crops = PhraseCrops(net, bundle / "models", write_studies(tmp_path), "nothing", tmp_path / "cache")
    with pytest.raises(TipsMedError, match="no row of the split 'nothing'"):
        len(crops)


def test_the_loss_counts_only_what_is_known():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 16, 16, requires_grad=True)
    label = torch.rand(2, 3, 2, 16, 16).round()
    label[0, 0] = torch.nan
    label[:, :, :, 8:] = torch.nan
    loss = PhraseLoss()(logits, label)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad[0, 0].abs().sum() == 0
    assert logits.grad[:, :, :, 8:].abs().sum() == 0
    assert logits.grad[1, 1, :, :8].abs().sum() > 0
    nothing = PhraseLoss()(logits, torch.full_like(label, torch.nan))
    assert nothing.item() == 0


def test_masks_of_what_is_known():
    pred = torch.tensor([[[[2.0, 2.0, -1.0]]], [[[5.0, 5.0, 5.0]]]])
    label = torch.tensor([[[[1.0, torch.nan, 0.2]]], [[[torch.nan] * 3]]])
    made = KeepKnownd()({"pred": pred, "label": label})
    assert made["pred"].tolist() == [[[[1.0, 0.0, 0.0]]]]
    assert made["label"].tolist() == [[[[1.0, 0.0, 0.0]]]]
