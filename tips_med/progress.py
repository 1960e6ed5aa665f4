"""Progress of long work: reported by pipelines, shown by the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

ProgressCallback = Callable[[int, int], None]
"""Called with (done, total)."""

StepFactory = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a step by name; returns a callback for its progress."""


@contextmanager
def no_progress(name: str) -> Iterator[ProgressCallback]:
    """Steps without output."""
    del name
    yield lambda done, total: None


def console_progress(console: Console) -> StepFactory:
    """Steps as lines on a terminal, each with a bar and the time left where its length is known."""

    @contextmanager
    def step(name: str) -> Iterator[ProgressCallback]:
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
            task = progress.add_task(name, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return step
