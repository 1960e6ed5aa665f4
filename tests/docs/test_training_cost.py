"""How the seconds of a training step are counted and told."""

from __future__ import annotations

import statistics

import pytest

from benchmarks import training_parts
from benchmarks.training_cost import markdown, workers_for

MACHINE = {
    "processor": "a processor", "cores": 2, "threads": 2, "instructions": [], "precision": "float32", "torch": "2",
    "gpu": None, "load": 0.1, "busy": False,
}  # fmt: skip
STEP = {
    "batch": 2,
    "making_s": {"paint findings": 0.3, "scan anew": 0.1},
    "network_s": {"encode the slabs": 0.05, "backward": 0.05},
    "together": {"step_s": 0.4, "waiting_share": 0.75, "workers": 1},
    "prepare_s": 1.5,
    "middle_s": 0.25,
    "steps": 6,
    "scenes_per_second": {"one_worker": 5.0, "all_cores": 9.0, "cores": 2},
}


def test_a_part_inside_another_one_is_not_counted_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 6.0, 10.0, 12.0])
    monkeypatch.setattr(training_parts.time, "perf_counter", lambda: next(clock))
    parts = training_parts.Parts()
    with parts.step(), parts.part("outer"):
        parts.timed(lambda: None, "inner")()
    with parts.step(), parts.part("outer"):
        pass
    assert parts.steps == [{"outer": 3.0, "inner": 3.0}, {"outer": 2.0}]
    assert parts.seconds(statistics.fmean) == {"outer": 2.5, "inner": 1.5}


def test_as_many_workers_are_needed_as_make_batches_while_one_is_learned_from() -> None:
    assert [workers_for(0.2, step_s) for step_s in (10.0, 0.2, 0.15, 0.05)] == [1, 1, 2, 4]


def test_the_table_has_shares_and_says_what_was_not_measured() -> None:
    told = markdown({"machine": MACHINE, "pretrain": STEP, "teach": STEP})
    assert "| paint findings | 0.300 | 75% |" in told
    assert "| **learning from it, on the device** | **0.100** | |" in told
    assert "| **together, 1 worker: waiting for batches** | **0.400** | **75%** |" in told
    assert "4 at 0.1 s, 14 at 0.03 s; 4 here" in told
    assert "On a GPU nothing was measured." in told
    on_gpu = {**STEP, "together": {**STEP["together"], "gpu_percent": 61.0, "gpu_peak_gib": 3.2}}
    assert "GPU: busy 61% of the time, at a peak of 3.2 GiB." in markdown({"machine": MACHINE, "pretrain": on_gpu})
