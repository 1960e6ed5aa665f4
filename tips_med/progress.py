"""Progress of long work: told by pipelines, shown by whoever wants to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

ProgressCallback = Callable[[int, int], None]
"""Called with (done, total)."""

StepFactory = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a step by name; gives what to tell of its progress."""


@contextmanager
def no_progress(name: str) -> Iterator[ProgressCallback]:
    """Steps that nobody watches."""
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
