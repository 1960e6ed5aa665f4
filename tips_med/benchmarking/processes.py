"""Measurements in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tips_med
from tips_med import errors
from tips_med.errors import ConfigError, TipsMedError

_LAST_WORDS = 300


def measured_alone(task: str, arguments: Mapping[str, Any], threads: int | None = None) -> dict[str, Any]:
    """What a task of ``tips_med.benchmarking.worker`` measures in a fresh process.

    Args:
        task: Name of the task.
        arguments: Its arguments, as JSON takes them.
        threads: Number of threads of PyTorch; as many as in this process if left out.

    Raises:
        TipsMedError: The one that the task ended with; or the process was ended from outside, as for want of memory.
    """
    environment = dict(os.environ)
    package = str(Path(tips_med.__file__).resolve().parents[1])  # the same code, also where it is not installed
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(prefix="tips-med-benchmark-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-W", "ignore", "-m", "tips_med.benchmarking.worker", task, json.dumps(arguments)]
        command += [str(result), repr(time.monotonic())]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
        if ran.returncode or not result.exists():
            raise _ended(ran.returncode, ran.stderr)
        told = json.loads(result.read_text("utf-8"))
    if "error" in told:
        raise error_from_dict(told["error"])
    return told


def error_to_dict(error: TipsMedError) -> dict[str, Any]:
    """An error that the user can fix, for another process."""
    path = None if error.path is None else str(error.path)
    parts = {"found": error.found, "expected": error.expected, "remedy": error.remedy, "code": error.code}
    return {"kind": type(error).__name__, "path": path, **parts}


def error_from_dict(told: Mapping[str, Any]) -> TipsMedError:
    """What ``error_to_dict`` told; a kind that is made in another way becomes the general one."""
    kind = getattr(errors, told["kind"], TipsMedError)
    if kind is errors.MissingExtraError:
        kind = TipsMedError
    return kind(told["found"], path=told["path"], expected=told["expected"], remedy=told["remedy"], code=told["code"])


def _ended(code: int, said: str) -> ConfigError:
    """A process that was ended from outside, or by a bug."""
    if code < 0:
        found, remedy = f"a run was ended by signal {-code}", "close other programs: it may have been the memory"
    else:
        lines = said.strip().splitlines() or ["without a word"]
        found, remedy = f"a run ended with exit code {code}: {lines[-1][:_LAST_WORDS]}", "report it"
    return ConfigError(found, remedy=remedy, code="run-ended")
