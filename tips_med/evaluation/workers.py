"""Several processes, each with a model of its own, that evaluate scan after scan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from queue import Empty
from typing import Any

import torch

from tips_med.evaluation.asking import Asking, ScanResult, evaluate_scan
from tips_med.evaluation.gallery import Gallery
from tips_med.manifest import Row
from tips_med.model import GroundingModel

_LOOK_SECONDS = 0.5
"""How often the rows that are done are counted."""


@dataclass
class _Worker:
    """What a process keeps between scans."""

    model: GroundingModel
    asking: Asking
    gallery: Gallery | None
    done: Any  # a queue between processes has no public type

    def told(self) -> None:
        self.done.put(1)


_worker: _Worker | None = None


def _start(
    load: Callable[[], GroundingModel], asking: Asking, gallery: Gallery | None, done: Any, threads: int
) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = _Worker(load(), asking, gallery, done)


def _evaluate(rows: Sequence[Row], name: str) -> tuple[ScanResult, Gallery | None]:
    assert _worker is not None
    gallery = _worker.gallery.empty_copy() if _worker.gallery is not None else None
    watch = None if gallery is None else gallery.add
    return evaluate_scan(rows, name, _worker.model, _worker.asking, watch, _worker.told), gallery


def evaluate_in_processes(
    scans: Sequence[tuple[Sequence[Row], str]],
    load: Callable[[], GroundingModel],
    asking: Asking,
    workers: int,
    gallery: Gallery | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[ScanResult]:
    """The results of scans, in their order, whatever process was the first.

    Args:
        scans: Rows and name of each scan.
        load: Loads the model, in each process; has to be a function of a module, or a ``functools.partial`` of one.
        asking: How rows are asked.
        workers: Number of processes, 2 or more; each holds a model and a scan, and has its share of the cores.
        gallery: Takes the pictures of all processes.
        progress: Called with the number of rows done.
    """
    context = get_context("spawn")  # neither torch nor ITK outlives a fork once their threads run
    done: Any = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    empty = gallery.empty_copy() if gallery is not None else None
    with ProcessPoolExecutor(workers, context, _start, (load, asking, empty, done, threads)) as pool:
        futures = [pool.submit(_evaluate, rows, name) for rows, name in scans]
        try:
            for future in _finished(futures, done, progress):
                result, pictures = future.result()
                if gallery is not None and pictures is not None:
                    gallery.take_over(pictures)
                yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finished(
    futures: Sequence[Future[tuple[ScanResult, Gallery | None]]], done: Any, progress: Callable[[int], None] | None
) -> Iterator[Future[tuple[ScanResult, Gallery | None]]]:
    """The futures in their order, each once it is finished; counts rows meanwhile."""
    count = 0
    for future in futures:
        waiting = True
        while waiting:
            waiting = bool(wait([future], timeout=_LOOK_SECONDS).not_done)
            try:
                while True:
                    count += done.get_nowait()
            except Empty:
                pass
            if progress:
                progress(count)
        yield future
