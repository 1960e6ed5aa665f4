"""The whole benchmark: processes that measure, and what they told put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tips_med.benchmarking.curves import CURVES, CurveSizes, measured_curve
from tips_med.benchmarking.processes import measured_alone
from tips_med.benchmarking.report import BUSY_LOAD, NOT_OF_ONE_ANSWER, Benchmark, stages_of_runs
from tips_med.errors import ConfigError, QueryError
from tips_med.progress import StepFactory, no_progress
from tips_med.sample import sample_path

QUERIES = ("mass in the left lung", "no pleural effusion", "ground-glass opacity left lung")


def run_benchmark(
    scan: str = "sample",
    queries: Sequence[str] = QUERIES,
    runs: int = 3,
    curves: Sequence[str] = (),
    sizes: CurveSizes | None = None,
    model: str | None = None,
    device: str = "auto",
    steps: StepFactory = no_progress,
) -> Benchmark:
    """Measures every stage, what a GPU adds, and curves.

    Args:
        scan: Path of a scan, or ``sample`` for the bundled one.
        queries: Questions, two or more: the first one also finds the lungs.
        runs: Number of runs of all stages, 1 or more.
        curves: Some of ``CURVES``.
        sizes: Where the curves are measured.
        model: As ``open_model`` takes it.
        device: ``auto``, ``cpu`` or ``cuda``.
        steps: Progress of the work.

    Raises:
        ConfigError: A number or a name makes no sense, or a run was ended from outside.
        QueryError: There are fewer than two queries, or one of them cannot be answered.
        ReadError: The scan cannot be read.
    """
    check_arguments(queries, runs, curves)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    path = str(sample_path()) if scan == "sample" else scan
    opened = {"model": model, "device": device}
    made = []
    with steps("going through the stages") as progress:
        for run in range(1, runs + 1):
            made.append(measured_alone("stages", {"scan": path, "queries": list(queries), **opened}))
            progress(run, runs)
    gpu: dict[str, Any] = {"skipped": made[0]["no_gpu"]}
    if made[0]["no_gpu"] is None:
        with steps("timing the GPU"):
            gpu = measured_alone("gpu", {"scan": path, "model": model})
    measured: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys(curves):
        with steps(f"curve: {name}") as progress:
            measured[name] = measured_curve(name, sizes or CurveSizes(), path, opened, progress)
    stages = stages_of_runs(made)
    return Benchmark(
        machine=made[0]["machine"]
        | {"load": None if load is None else round(load, 2), "busy": load is not None and load > BUSY_LOAD},
        scan={"bundled": scan == "sample", **made[0]["scan"]},
        queries=tuple(queries),
        runs=runs,
        stages=stages,
        first_answer_seconds=round(sum(one.seconds for one in stages if one.name not in NOT_OF_ONE_ANSWER), 2),
        study_mib=made[0]["study_mib"],
        voxels_mib=made[0]["voxels_mib"],
        gpu=gpu,
        curves=measured,
    )


def check_arguments(queries: Sequence[str], runs: int, curves: Sequence[str]) -> None:
    """Refuses what makes no sense, before anything is measured.

    Raises:
        ConfigError: A number or a name makes no sense.
        QueryError: There are fewer than two queries.
    """
    if len(queries) < 2:
        raise QueryError(
            f"{len(queries)} {'query' if len(queries) == 1 else 'queries'} to benchmark",
            expected="two or more: the first one also finds the lungs, and further ones are cheaper",
            remedy="add another one to --query, or leave --query out",
        )
    if runs < 1:
        raise ConfigError(f"{runs} runs", expected="1 or more")
    unknown = [name for name in curves if name not in CURVES]
    if unknown:
        raise ConfigError(f"no curve {unknown[0]!r}", expected=f"some of {', '.join(CURVES)}")
