"""How busy a GPU is, as its driver's tool tells: here a script that stands for it, for there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tips_med.training.pace import device_use, gpu_percent


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
