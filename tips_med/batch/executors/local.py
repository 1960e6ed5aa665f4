"""Workers on this machine, each in a process of its own, so that none can take the batch with it."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tips_med.batch.executors.base import Executor, Outcome
from tips_med.batch.work import Answering
from tips_med.discovery import FoundScan
from tips_med.errors import ConfigError, TipsMedError

MAX_IDLE_DEATHS = 3
"""Workers that die one after the other before they can be given a study: something else than a study is wrong."""


def usable_cores() -> int:
    """Number of cores that this process may use."""
    with suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor(Executor):
    """Processes of this machine.

    A process that dies (killed, out of memory, a crash in a library) is replaced, and its study given out again; the
    worker itself declines one that has been begun too often.

    Args:
        workers: Number of processes, 1 or more; each holds a model and a scan.
        cores: Cores of each; a fair share of those of this process when None.
    """

    def __init__(self, workers: int = 1, cores: int | None = None) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers", expected="1 or more", remedy="set --workers 1")
        self.workers = workers
        self.cores = cores or max(1, usable_cores() // workers)

    def run(self, scans: Sequence[FoundScan], work: Answering) -> Iterator[Outcome]:
        """See ``Executor.run``."""
        waiting = deque(scans)
        deaths = 0
        crew = [_Process(work, self.cores) for _ in range(min(self.workers, len(waiting)))]
        try:
            while crew:
                for one in _heard(crew):
                    said = one.said()
                    if said is None:  # it died
                        if one.scan is None:
                            deaths += 1
                        else:
                            waiting.appendleft(one.scan)
                        crew.remove(one)
                        one.stop()
                        if deaths >= MAX_IDLE_DEATHS:
                            raise ConfigError(
                                f"{deaths} workers died before they could begin a study",
                                remedy="try fewer of them (--workers), for each needs the memory of a model and a scan",
                                code="worker-died",
                            )
                        if waiting:
                            crew.append(_Process(work, self.cores))
                        continue
                    if isinstance(said, TipsMedError):
                        raise said
                    if isinstance(said, Outcome):
                        deaths = 0
                        yield said
                    if waiting:
                        one.give(waiting.popleft())
                    else:
                        crew.remove(one)
                        one.stop()
        finally:
            for one in crew:
                one.stop(now=True)


class _Process:
    """One worker's process, and the study that it has."""

    def __init__(self, work: Answering, cores: int) -> None:
        context = get_context("spawn")  # neither torch nor ITK outlives a fork once their threads run
        self.ours, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, work, cores), daemon=True)
        self.process.start()
        theirs.close()
        self.scan: FoundScan | None = None

    def give(self, scan: FoundScan) -> None:
        self.scan = scan
        with suppress(OSError):  # it has died, which is heard next
            self.ours.send(scan)

    def said(self) -> Any:
        """What it says: an ``Outcome``, an error that stops all, a word that it is ready; None when it has died."""
        try:
            said = self.ours.recv()
        except (EOFError, OSError):
            return None
        self.scan = None
        return said

    def stop(self, now: bool = False) -> None:
        with suppress(OSError):
            self.ours.send(None)
        self.ours.close()
        if now:
            self.process.terminate()
        self.process.join()


def _heard(crew: Sequence[_Process]) -> list[_Process]:
    """The processes that have said something, or have died."""
    of: dict[Connection, _Process] = {one.ours: one for one in crew}
    return [of[found] for found in wait(list(of)) if isinstance(found, Connection)]


def _serve(driver: Connection, work: Answering, cores: int) -> None:
    """The life of a worker's process: it ends when its driver does, after the study in hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver is told, and stops it
    with suppress(EOFError, OSError):
        try:
            worker = work.start(cores)
            driver.send("ready")
            while (scan := driver.recv()) is not None:
                driver.send(worker.answer(scan))
        except TipsMedError as error:
            told = TipsMedError(
                error.found, path=error.path, expected=error.expected, remedy=error.remedy, code=error.code
            )
            driver.send(told)
