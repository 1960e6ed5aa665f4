"""A benchmark as a table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tips_med.benchmarking.markdown import CURVE_ROWS, gpu_in_words
from tips_med.benchmarking.report import Benchmark, machine_in_words


def benchmark_table(measured: Benchmark) -> Group:
    """Stages, curves, and where they were measured."""
    shape = " x ".join(map(str, measured.scan["shape"]))
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("stage")
    for heading in ("seconds", "processor", "share", "memory so far"):
        table.add_column(heading, justify="right")
    for stage in measured.stages:
        table.add_row(
            stage.name,
            f"{stage.seconds:.2f}",
            f"{stage.processor_seconds:.2f}",
            f"{100 * stage.share:.0f}%",
            f"{stage.peak_mib / 1024:.2f} GiB",
        )
    bundled = " (the bundled one)" if measured.scan["bundled"] else ""
    runs = "one run" if measured.runs == 1 else f"the fastest of {measured.runs} runs"
    lines = [
        f"Scan of {shape}{bundled}, {runs}, in seconds.",
        f"From the command to the first answer: {measured.first_answer_seconds:.1f} s.",
        f"Encoded study on disk: {measured.study_mib:.0f} MiB beside {measured.voxels_mib:.0f} MiB of voxels.",
        gpu_in_words(measured.gpu),
        f"Machine: {machine_in_words(measured.machine)}.",
    ]
    curves = [_curve(name, [CURVE_ROWS[name](point) for point in points]) for name, points in measured.curves.items()]
    return Group(table, *(Text(line) for line in lines), *curves)


def _curve(name: str, rows: list[dict[str, str]]) -> Group:
    table = Table(show_edge=False, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row.values())
    return Group(Text(f"\nCurve: {name}", "bold"), table)
