"""The process that measures one thing: ``python -m tips_med.benchmarking.worker TASK ARGUMENTS RESULT BEGUN``.

Nothing heavy is imported before the clock runs: importing is a stage, too, from the start of the interpreter on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tips_med.benchmarking.clock import Clock
from tips_med.benchmarking.processes import error_to_dict
from tips_med.errors import TipsMedError

TASKS = {
    "stages": "stages",
    "slices": "curve_tasks",
    "questions": "curve_tasks",
    "lexicon": "curve_tasks",
    "threads": "curve_tasks",
    "gpu": "gpu",
}
"""Module of each task; its function is called ``measure_TASK``."""


def measure(task: str, arguments: dict[str, Any], begun: float) -> dict[str, Any]:
    """What a task measures, or the error that the user can fix.

    Args:
        task: One of ``TASKS``.
        arguments: Arguments of its function.
        begun: Value of ``time.monotonic`` at which this process was started.
    """
    clock = Clock(begun)
    try:
        module = import_module(f"tips_med.benchmarking.{TASKS[task]}")
        function: Callable[..., dict[str, Any]] = getattr(module, f"measure_{task}")
        return function(clock, **arguments)
    except TipsMedError as error:
        return {"error": error_to_dict(error)}


def main() -> None:
    """Measures, and writes the result."""
    task, arguments, result, begun = sys.argv[1:]
    Path(result).write_text(json.dumps(measure(task, json.loads(arguments), float(begun))), "utf-8")


if __name__ == "__main__":
    main()
