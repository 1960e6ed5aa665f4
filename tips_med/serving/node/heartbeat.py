"""Whether the node still works: the work itself reports it, not another thread."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeat:
    """Beats whenever something was done: a look at the queue, an image, a part of an answer.

    Args:
        longest_s: Seconds without any work after which a node hangs.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, longest_s: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.longest_s, self._clock = longest_s, clock
        self._last: float | None = None

    def beat(self, *_: object) -> None:
        """Records that something was done. Arguments are ignored, so that it can be a progress callback."""
        self._last = self._clock()

    def end(self) -> None:
        """The work has ended."""
        self._last = None

    @property
    def since_s(self) -> float | None:
        """Seconds since the last beat; None before the first, and after the end."""
        return None if self._last is None else self._clock() - self._last

    @property
    def healthy(self) -> bool:
        """Whether the work goes on."""
        return self.since_s is not None and self.since_s <= self.longest_s
