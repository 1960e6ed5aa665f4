"""Whether the node still gets on with its work: what says so is the work itself, and no thread beside it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeat:
    """Beats whenever something was done: a look at the queue, an image, a part of an answer.

    Args:
        longest_s: A node that has done nothing for longer hangs.
        clock: Seconds that never go back.
    """

    def __init__(self, longest_s: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.longest_s, self._clock = longest_s, clock
        self._last: float | None = None

    def beat(self, *_: object) -> None:
        """Something was done. Arguments are taken and passed over, so that it can be told of progress."""
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
