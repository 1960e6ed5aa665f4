"""How cost grows: with slices, questions, the lexicon and threads. Each point is a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tips_med.benchmarking.processes import measured_alone
from tips_med.errors import ConfigError
from tips_med.progress import ProgressCallback
from tips_med.sample import sample_path

CURVES = ("slices", "queries", "lexicon", "threads")


@dataclass(frozen=True)
class CurveSizes:
    """Where the curves are measured.

    Attributes:
        slices: Numbers of slices of 64 x 64 pixels, 2.5 mm apart: the bundled scan, mirrored at its ends.
        queries: Numbers of questions.
        terms: Numbers of terms of the lexicon; the model's own is the smallest.
        threads: Numbers of threads; 1, 2, 4 and so on up to the number of cores where empty.
        repeats: Number of questions that the means of the lexicon and of threads are taken of.
    """

    slices: tuple[int, ...] = (60, 125, 250, 500, 1000, 2000)
    queries: tuple[int, ...] = (1, 10, 100, 1000)
    terms: tuple[int, ...] = (1, 1000, 3000, 10000)
    threads: tuple[int, ...] = ()
    repeats: int = 24

    def __post_init__(self) -> None:
        for name in ("slices", "queries", "terms", "threads"):
            sizes = getattr(self, name)
            if any(size < 1 for size in sizes) or list(sizes) != sorted(set(sizes)):
                raise ConfigError(f"sizes.{name} is {list(sizes)}", expected="rising numbers of 1 or more")
        if self.repeats < 1:
            raise ConfigError(f"sizes.repeats is {self.repeats}", expected="1 or more")


def measured_curve(
    name: str, sizes: CurveSizes, scan: str, opened: Mapping[str, Any], progress: ProgressCallback
) -> list[dict[str, Any]]:
    """The points of one curve.

    Args:
        name: One of ``CURVES``.
        sizes: Where it is measured.
        scan: Path of the scan that is asked; the curve over slices always takes the bundled one.
        opened: Model and device, as ``open_model`` takes them.
        progress: Called with (points done, total points).
    """
    if name == "queries":
        return measured_alone("questions", {"counts": list(sizes.queries), "scan": scan, **opened})["points"]
    if name == "slices":
        at, task, shared = sizes.slices, "slices", {"scan": str(sample_path())}
    elif name == "lexicon":
        at, task, shared = sizes.terms, "lexicon", {"count": sizes.repeats, "scan": scan}
    else:
        at, task, shared = sizes.threads or powers_of_two(), "threads", {"count": sizes.repeats, "scan": scan}
    points = []
    for n, size in enumerate(at, start=1):
        own = {} if task == "threads" else {"terms" if task == "lexicon" else task: size}
        threads = size if task == "threads" else None
        points.append(measured_alone(task, {**own, **shared, **opened}, threads))
        progress(n, len(at))
    return points


def powers_of_two() -> tuple[int, ...]:
    """1, 2, 4 and so on, up to the number of cores that this process may use, which is the last one."""
    from tips_med.doctor.machine import usable_cores

    cores = usable_cores()
    return tuple(sorted({*(2**n for n in range(cores.bit_length()) if 2**n <= cores), cores}))
