"""Progress of long work: reported by pipelines, shown by the caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""Number of seconds between lines of the log."""

ProgressCallback = Callable[[int, int], None]
"""Called with (done, total)."""

StepFactory = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a step by name; returns a callback for its progress."""


@contextmanager
def log_progress(name: str) -> Iterator[ProgressCallback]:
    """Steps as lines of the log, one every half minute: for a cluster's logs, and output that goes to a file."""
    begun = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= EVERY_S:
            told = now
            log.info("%s: %d of %d after %.0f s", name, done, total, now - begun)

    yield tell


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
