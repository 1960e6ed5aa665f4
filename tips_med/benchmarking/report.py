"""A benchmark's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = "tips_med-benchmark-1"

STAGES = (
    "import",
    "load the weights",
    "read",
    "slabs",
    "encode",
    "first question",
    "further question",
    "write an answer",
    "save",
    "load",
)
"""In the order in which they are measured."""

NOT_OF_ONE_ANSWER = ("further question", "save", "load")
"""Stages that the command for one answer does not go through."""

BUSY_LOAD = 0.5
"""Load average above which other work ran on the machine."""


@dataclass(frozen=True)
class Stage:
    """One stage from a file to an answer.

    Attributes:
        name: One of ``STAGES``.
        seconds: Seconds that passed, of the fastest run: other work on the machine can only add to them.
        processor_seconds: Seconds that all cores together spent on the process, the lowest of all runs.
        share: Part of the sum of all stages' ``seconds``, 0 to 1.
        peak_mib: Peak memory of the process up to the end of this stage, in MiB, the highest of all runs.
        seconds_of_runs: Seconds that passed in each run.
    """

    name: str
    seconds: float
    processor_seconds: float
    share: float
    peak_mib: float
    seconds_of_runs: tuple[float, ...]


@dataclass(frozen=True)
class Benchmark:
    """What was measured on one machine.

    Attributes:
        machine: Processor, instructions, cores, threads, precision, versions, load average when it began (``load``),
            and whether other work ran beside it (``busy``).
        scan: Whether it is the bundled one, its shape [k j i], its spacing in mm, and its slabs [slab y x].
        queries: What was asked, in words.
        runs: Number of runs, each a process of its own.
        stages: All of ``STAGES``.
        first_answer_seconds: Seconds from the command to the first answer on disk: the stages that it goes through.
        study_mib: Size of the encoded study on disk beside the voxels, in MiB.
        voxels_mib: Size of the voxels in it, in MiB.
        gpu: Times on the GPU; where there is none, ``skipped`` has the reason.
        curves: What was measured at several sizes, by name; empty unless it was requested.
    """

    machine: Mapping[str, Any]
    scan: Mapping[str, Any]
    queries: tuple[str, ...]
    runs: int
    stages: tuple[Stage, ...]
    first_answer_seconds: float
    study_mib: float
    voxels_mib: float
    gpu: Mapping[str, Any]
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def peak_mib(self) -> float:
        """Peak memory of the process over all stages, in MiB."""
        return max(stage.peak_mib for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": FORMAT, **asdict(self), "peak_mib": self.peak_mib}


def stages_of_runs(runs: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """Stages from what each run measured.

    Args:
        runs: ``stages`` of each run by name: ``seconds``, ``processor_seconds`` and ``peak_mib``.
    """
    lowest = {name: min(run["stages"][name]["seconds"] for run in runs) for name in STAGES}
    whole = sum(lowest.values())
    return tuple(
        Stage(
            name=name,
            seconds=round(lowest[name], 3),
            processor_seconds=round(min(run["stages"][name]["processor_seconds"] for run in runs), 3),
            share=lowest[name] / whole,
            peak_mib=round(max(run["stages"][name]["peak_mib"] for run in runs), 1),
            seconds_of_runs=tuple(round(run["stages"][name]["seconds"], 3) for run in runs),
        )
        for name in STAGES
    )


def machine_in_words(machine: Mapping[str, Any]) -> str:
    """One line that says where it was measured."""
    cores, threads = machine["cores"], machine["threads"]
    said = (
        f"{machine['processor']}, {cores} core{'s' if cores > 1 else ''}, {threads} thread{'s' if threads > 1 else ''}"
    )
    instructions = [name for name in machine["instructions"] if "bf16" in name or "amx" in name]
    said += f", {' and '.join(instructions) or 'without bfloat16 instructions'}, {machine['precision']} chosen"
    said += f", torch {machine['torch']}"
    if machine.get("gpu"):
        said += f", {machine['gpu']}"
    if machine["load"] is not None:
        said += f"; load average {machine['load']:.1f} when it began"
        said += " (other work ran beside it)" if machine["busy"] else ""
    return said
