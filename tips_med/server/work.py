"""Work of requests in a few threads, with a bound on how many wait and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from tips_med.server.refusals import RequestError, busy

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """A few threads for the work of requests; called from the event loop only.

    Args:
        name: What waits, in the plural, for messages.
        workers: Number of threads.
        max_waiting: Maximum number of calls at work or waiting.
        timeout_s: Seconds after which a caller is told that it takes too long; the work then ends unheard.
    """

    def __init__(self, name: str, workers: int, max_waiting: int, timeout_s: float) -> None:
        self._name, self._max, self._timeout_s = name, max_waiting, timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="tips-med-serve")
        self._waiting = 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does something in a thread.

        Raises:
            RequestError: ``busy``, ``too-slow``.
        """
        if self._waiting >= self._max:
            raise busy(self._name)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = self._threads.submit(work, *args, **kwargs)
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._leave))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except TimeoutError:
            raise RequestError(504, "too-slow", f"it took longer than {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Waits for what is at work, and drops what waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        self._waiting -= 1
