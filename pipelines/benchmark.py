"""Measures what this machine gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tips_med.benchmarking import Benchmark, CurveSizes, check_report_folder, run_benchmark, write_report
from tips_med.benchmarking.run import QUERIES
from tips_med.progress import StepFactory, no_progress


def benchmark(
    scan: str = "sample",
    query: Sequence[str] = QUERIES,
    runs: int = 3,
    curves: Sequence[Literal["slices", "queries", "lexicon", "threads"]] = (),
    out: Path | None = None,
    sizes: CurveSizes | None = None,
    model: str | None = None,
    device: str = "auto",
    json: bool = False,
    steps: StepFactory = no_progress,
) -> Benchmark:
    """Measures seconds and memory of every stage from a file to an answer on this machine.

    Each run is a process of its own. Nothing that it tells names the machine, its user or a folder.

    Args:
        scan: DICOM folder, a DICOM or NIfTI file, or ``sample``.
        query: Findings or structures to search, in words, two or more: the first one also finds the lungs.
        runs: Number of runs; of each stage, the fastest one counts.
        curves: What to vary, too: slices, queries, lexicon, threads; several follow each other. Slices up to 2,000 take
            minutes.
        out: Folder for benchmark.json, benchmark.md and a picture of each curve; earlier ones in it are replaced.
        sizes: Where the curves are measured.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        json: Print JSON instead of a table (command line only).
        steps: Progress of the work; the command line shows a bar.

    Raises:
        ConfigError: A number or a name makes no sense, or a run was ended from outside.
        QueryError: There are fewer than two queries, or one of them cannot be answered.
        ReadError: The scan cannot be read.
        OutputError: The folder cannot be written to.
    """
    del json  # what is measured does not depend on how it is shown
    if out is not None:
        check_report_folder(out)
    measured = run_benchmark(scan, query, runs, curves, sizes, model, device, steps)
    if out is not None:
        write_report(measured, out)
    return measured
