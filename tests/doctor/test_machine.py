"""The machine: advice on threads, memory and graphics processors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tips_med.doctor import machine
from tips_med.doctor.machine import GIB, graphics, memory, processor, threads_advice, usable_cores
from tips_med.doctor.places import cache, temporary


@pytest.mark.parametrize(
    ("cores", "threads", "environment", "advice"),
    [
        (8, 8, None, ""),
        (8, 4, None, "set OMP_NUM_THREADS=8"),
        (2, 1, "1", "unset OMP_NUM_THREADS"),
        (2, 16, None, "set OMP_NUM_THREADS=2"),
        (64, 32, None, ""),
        (1, 1, "1", ""),
    ],
)
def test_threads_fit_the_cores(
    cores: int, threads: int, environment: str | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    said = threads_advice(cores, threads)
    assert advice in said
    assert bool(said) == bool(advice)


def test_a_container_has_the_cores_and_the_memory_that_it_is_limited_to(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"/sys/fs/cgroup/cpu.max": "100000 100000", "/sys/fs/cgroup/memory.max": str(2 * GIB)}
    monkeypatch.setattr(machine, "_read", limits.__getitem__)
    assert usable_cores() == 1
    check = memory()
    assert check.data["total_gib"] == 2.0
    assert check.state == "hint"
    assert "container with more memory" in check.advice


def test_memory_that_others_hold_is_another_advice_than_too_little() -> None:
    assert memory(16 * GIB, 12 * GIB).state == "ok"
    busy = memory(16 * GIB, 1 * GIB)
    assert busy.state == "hint"
    assert "close other programs" in busy.advice


def test_the_processor_is_told_with_its_threads() -> None:
    check = processor()
    assert check.data["threads"] == torch.get_num_threads()
    assert check.data["cores"] >= 1
    assert check.data["model"]


@pytest.mark.parametrize(
    ("device", "built_for", "state", "advice"),
    [
        (False, None, "ok", ""),
        (False, "13.0", "ok", ""),
        (True, None, "hint", "install the build of torch for CUDA"),
        (True, "13.0", "hint", "update the driver to one for CUDA 13.0"),
    ],
)
def test_a_graphics_processor_that_is_not_used_is_told_why(
    device: bool, built_for: str | None, state: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(machine, "has_nvidia_device", lambda: device)
    check = graphics()
    assert check.state == state
    assert advice in check.advice


def test_folders_that_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert temporary(file).state == "fault"
    assert "TMPDIR" in temporary(file).advice
    assert cache(file / "below").state == "hint"
    assert "MPLCONFIGDIR" in cache(file / "below").advice
    assert temporary(tmp_path).state == cache(tmp_path / "new" / "folder").state == "ok"
