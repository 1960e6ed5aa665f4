"""Pictures of the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tips_med.errors import MissingExtraError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator
except ImportError as e:
    raise MissingExtraError("figures", "matplotlib", "figures") from e

Points = Sequence[Mapping[str, Any]]
ENCODE, QUESTION, MEMORY = "#1b6ca8", "#c7511f", "#4a7c3a"
"""Told apart by lightness and by the shape of their marks, too."""


def draw_curve(name: str, points: Points, path: Path) -> Path:
    """Draws one curve.

    Args:
        name: One of ``CURVES``.
        points: Its points.
        path: PNG to write.
    """
    with mpl.rc_context({**mpl.rcParamsDefault, "font.size": 9.5}):
        figure = Figure(figsize=(8.6, 3.4), dpi=110, layout="constrained")
        _DRAW[name](figure, points)
        for axes in figure.axes:
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    return path


def _slices(figure: Figure, points: Points) -> None:
    left, right = figure.subplots(1, 2)
    at = [point["slices"] for point in points]
    _line(left, at, [point["stages"]["encode"]["seconds"] for point in points], "encoding", ENCODE, "o")
    spent = [point["stages"]["encode"]["processor_seconds"] for point in points]
    _line(left, at, spent, "encoding, processor", ENCODE, "x", "--")
    _line(left, at, [point["stages"]["slabs"]["seconds"] for point in points], "cutting slabs", MEMORY, "s")
    _line(left, at, [point["stages"]["first question"]["seconds"] for point in points], "first question", QUESTION, "^")
    left.set(xlabel="slices of 64 x 64", ylabel="seconds", xlim=(0, None))
    left.legend(frameon=False, loc="upper left")
    for stage, label, colour, mark in (
        ("encode", "encoding", ENCODE, "o"),
        ("further question", "with five questions", QUESTION, "^"),
    ):
        _line(right, at, [point["stages"][stage]["peak_mib"] / 1024 for point in points], label, colour, mark)
    right.plot(
        at, [point["before_mib"] / 1024 for point in points], "--", color="0.4", label="before: PyTorch, weights"
    )
    right.set(xlabel="slices of 64 x 64", ylabel="peak memory, GiB", xlim=(0, None))
    right.legend(frameon=False)


def _queries(figure: Figure, points: Points) -> None:
    left, right = figure.subplots(1, 2)
    at = [point["questions"] for point in points]
    _line(left, at, [1000 * point["seconds_each"] for point in points], "time that passed", QUESTION, "^")
    spent = [1000 * point["processor_seconds_each"] for point in points]
    _line(left, at, spent, "processor", QUESTION, "x", "--")
    _logarithmic(left, at, "further questions", "milliseconds, each")
    left.legend(frameon=False)
    _line(right, at, [point["peak_mib"] / 1024 for point in points], "", MEMORY, "s")
    _logarithmic(right, at, "further questions", "peak memory, GiB")


def _lexicon(figure: Figure, points: Points) -> None:
    left, right = figure.subplots(1, 2)
    at = [point["terms"] for point in points]
    asked = [point["stages"]["question"] for point in points]
    _line(left, at, [1000 * stage["seconds"] for stage in asked], "time that passed", QUESTION, "^")
    _line(left, at, [1000 * stage["processor_seconds"] for stage in asked], "processor", QUESTION, "x", "--")
    _logarithmic(left, at, "terms of the lexicon", "milliseconds, a further question")
    left.legend(frameon=False)
    _line(right, at, [1000 * point["stages"]["understand"]["seconds"] for point in points], "", ENCODE, "o")
    _logarithmic(right, at, "terms of the lexicon", "milliseconds, understanding it")


def _threads(figure: Figure, points: Points) -> None:
    left, right = figure.subplots(1, 2)
    at = [point["threads"] for point in points]
    _line(left, at, [point["stages"]["encode"]["seconds"] for point in points], "encoding", ENCODE, "o")
    _line(left, at, [point["stages"]["slabs"]["seconds"] for point in points], "cutting slabs", MEMORY, "s")
    left.legend(frameon=False)
    left.set(xlabel="threads", ylabel="seconds", xticks=at)
    _line(right, at, [1000 * point["stages"]["further question"]["seconds"] for point in points], "", QUESTION, "^")
    right.set(xlabel="threads", ylabel="milliseconds, a further question", xticks=at)


_DRAW = {"slices": _slices, "queries": _queries, "lexicon": _lexicon, "threads": _threads}


def _line(
    axes: Axes, x: Sequence[float], y: Sequence[float], label: str, colour: str, mark: str, style: str = "-"
) -> None:
    axes.plot(x, y, style, marker=mark, color=colour, label=label)


def _logarithmic(axes: Axes, at: Sequence[float], what: str, of: str) -> None:
    """A logarithmic axis with a tick at each point."""
    axes.set(xscale="log", xlabel=what, ylabel=of)
    axes.set_xticks(at, [f"{size:,}" for size in at])
    axes.xaxis.set_minor_locator(NullLocator())
