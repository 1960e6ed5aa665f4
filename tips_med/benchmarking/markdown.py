"""A benchmark as Markdown: the tables that the documentation includes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tips_med.benchmarking.report import STAGES, machine_in_words

Told = Mapping[str, Any]
"""What ``Benchmark.to_dict`` gives, and JSON keeps."""


def stages_markdown(cases: Mapping[str, Told]) -> str:
    """One or more benchmarks of one machine, side by side, and where they were measured.

    Args:
        cases: What was measured, by the name of the scan.
    """
    names = " | ".join(f"{name} | processor | share | memory so far" for name in cases)
    lines = [f"| stage | {names} |", "|---|" + "---:|" * 4 * len(cases)]
    by_name = [{stage["name"]: stage for stage in case["stages"]} for case in cases.values()]
    for name in STAGES:
        lines.append(f"| {name} | {' | '.join(_stage(stages[name]) for stages in by_name)} |")
    firsts = [f"**{case['first_answer_seconds']:.1f} s** | | | " for case in cases.values()]
    lines.append(f"| **from the command to the first answer** | {' | '.join(firsts)} |")
    sizes = [f"{case['study_mib']:.0f} MiB beside {case['voxels_mib']:.0f} | | | " for case in cases.values()]
    lines.append(f"| encoded study on disk, beside its voxels | {' | '.join(sizes)} |")
    first = next(iter(cases.values()))
    runs = "one run" if first["runs"] == 1 else f"the fastest of {first['runs']} runs, the highest memory of them"
    lines += ["", f"{machine_in_words(first['machine'])}; {runs}. {gpu_in_words(first['gpu'])}"]
    return "\n".join(lines)


def gpu_in_words(gpu: Told) -> str:
    """What was measured on a GPU, or why nothing was."""
    if "skipped" in gpu:
        return f"GPU: not measured ({gpu['skipped']})."
    said = f"GPU: encoding {gpu['encode_seconds']:.2f} s, a further question {gpu['question_seconds']:.2f} s"
    if "training_step_seconds" in gpu:
        step = gpu["training_step"]
        shape = " x ".join(map(str, step["shape"]))
        said += f", a training step of {step['scenes']} scenes of {shape} {gpu['training_step_seconds']:.2f} s"
    return f"{said}, at a peak of {gpu['peak_mib'] / 1024:.1f} GiB." if "peak_mib" in gpu else f"{said}."


def curve_markdown(name: str, points: Sequence[Told]) -> str:
    """One curve as a table.

    Args:
        name: One of ``CURVES``.
        points: Its points.
    """
    rows = [CURVE_ROWS[name](point) for point in points]
    return "\n".join([_row(rows[0]), "|" + "---:|" * len(rows[0]), *(_row(list(row.values())) for row in rows)])


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _slices(point: Told) -> dict[str, str]:
    return {
        "slices": f"{point['slices']:,}",
        "slabs": f"{point['slabs']:,}",
        "cutting slabs": _seconds(point["stages"]["slabs"]),
        "encoding": _seconds(point["stages"]["encode"]),
        "encoding, a slab": f"{1000 * point['stages']['encode']['seconds'] / point['slabs']:.0f} ms",
        "processor, a slab": f"{1000 * point['stages']['encode']['processor_seconds'] / point['slabs']:.0f} ms",
        "first question": _seconds(point["stages"]["first question"]),
        "further question": _seconds(point["stages"]["further question"]),
        "peak memory, encoding": _gib(point["stages"]["encode"]["peak_mib"]),
        "peak memory, all": _gib(point["stages"]["further question"]["peak_mib"]),
    }


def _queries(point: Told) -> dict[str, str]:
    return {
        "further questions": f"{point['questions']:,}",
        "different ones": f"{point['different']:,}",
        "each": f"{1000 * point['seconds_each']:.0f} ms",
        "processor": f"{1000 * point['processor_seconds_each']:.0f} ms",
        "peak memory": _gib(point["peak_mib"]),
    }


def _lexicon(point: Told) -> dict[str, str]:
    return {
        "terms": f"{point['terms']:,}",
        "understanding a question": f"{1000 * point['stages']['understand']['seconds']:.1f} ms",
        "a further question": f"{1000 * point['stages']['question']['seconds']:.0f} ms",
        "processor": f"{1000 * point['stages']['question']['processor_seconds']:.0f} ms",
    }


def _threads(point: Told) -> dict[str, str]:
    return {
        "threads": str(point["threads"]),
        "cutting slabs": _seconds(point["stages"]["slabs"]),
        "encoding": _seconds(point["stages"]["encode"]),
        "processor": f"{point['stages']['encode']['processor_seconds']:.1f} s",
        "first question": _seconds(point["stages"]["first question"]),
        "further question": _seconds(point["stages"]["further question"]),
    }


CURVE_ROWS = {"slices": _slices, "queries": _queries, "lexicon": _lexicon, "threads": _threads}


def _stage(stage: Told) -> str:
    seconds, spent = stage["seconds"], stage["processor_seconds"]
    return f"{seconds:.2f} s | {spent:.2f} s | {100 * stage['share']:.0f}% | {_gib(stage['peak_mib'])}"


def _seconds(stage: Told) -> str:
    return f"{stage['seconds']:.2f} s"


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"
