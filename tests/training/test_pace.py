"""What a GPU needs to be kept busy, and how busy it is: scripts and devices stand for one, for there is none here."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import lightning
import pytest
import torch

from tips_med.training.fitting import AveragedWeights
from tips_med.training.pace import device_use, gpu_percent
from tips_med.training.painted import PaintedBatch


@pytest.mark.parametrize(("told", "percent"), [("echo 7; echo 93", 93.0), ("echo [N/A]", None), ("exit 9", None)])
def test_the_busiest_gpu_counts_and_what_is_not_told_is_unknown(
    told: str, percent: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_percent() == percent


def test_nothing_is_told_of_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_percent() is None
    assert device_use(torch.device("cpu")) == ""


def test_averages_are_kept_on_the_device_that_the_weights_will_go_to() -> None:
    module = lightning.LightningModule()
    module.layer = torch.nn.Linear(2, 2)
    averaged = AveragedWeights(decay=0.9)
    trainer = Mock(spec=lightning.Trainer)
    trainer.strategy.root_device = torch.device("meta")
    averaged.setup(trainer, module, "fit")
    assert averaged._average_model is not None
    assert {p.device.type for p in averaged._average_model.module.parameters()} == {"meta"}
    assert module.layer.weight.device.type == "cpu"
    assert averaged.state_key == "EMAWeightAveraging"  # as in the checkpoints of runs that were begun before


def test_all_tensors_of_a_batch_are_pinned_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    one = torch.zeros(1)
    pinned = PaintedBatch(one, one, ["lung"], one, one, one).pin_memory()
    assert pinned.phrases == ["lung"]
    assert [float(part) for name, part in vars(pinned).items() if name != "phrases"] == [1.0] * 5
