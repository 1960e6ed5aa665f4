"""Measured figures that ship beside weights, found by the hash of the weights that they were measured with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def measured_results(sha256: str) -> list[dict[str, Any]]:
    """The figures of a model, as the ``results`` of a ``model-index``; none for weights that nobody measured.

    ``python -m benchmarks.model_index`` makes the files from ``docs/measurements``.

    Args:
        sha256: Of the weights: figures of other weights are never given.
    """
    for file in sorted(_WEIGHTS.glob("*.results.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["weights_sha256"] == sha256:
            return found["results"]
    return []
