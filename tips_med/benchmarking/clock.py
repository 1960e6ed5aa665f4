"""Time and memory of this process."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

KIB, MIB = 1 << 10, 1 << 20


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB.

    Linux tells it as VmHWM; what ``getrusage`` tells there may be the peak of the parent.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / KIB
    except (OSError, IndexError, ValueError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else KIB)


class Clock:
    """Times the stages of this process, one after the other.

    Args:
        begun: Value of ``time.monotonic`` at the beginning of the first stage; now if left out. That clock is
            the machine's, so it may be the time at which another process started this one.
    """

    def __init__(self, begun: float | None = None) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._begun = time.monotonic() if begun is None else begun
        self._spent = 0.0 if begun is not None else time.process_time()

    def done(self, name: str, times: int = 1) -> None:
        """Ends a stage, and begins the next one.

        Args:
            name: Name of the stage that ends.
            times: Number of times that it was done; the seconds of one are kept.
        """
        self.stages[name] = {
            "seconds": (time.monotonic() - self._begun) / times,
            "processor_seconds": (time.process_time() - self._spent) / times,
            "peak_mib": peak_mib(),
        }
        self.go_on()

    def go_on(self) -> None:
        """Begins the next stage now: what was done since the last one does not count."""
        self._begun, self._spent = time.monotonic(), time.process_time()

    def so_far(self, name: str) -> dict[str, Any]:
        """What is kept of a stage, rounded for a report."""
        return {key: round(value, 4) for key, value in self.stages[name].items()}
