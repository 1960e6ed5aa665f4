"""The rows of the table: one for each study and query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tips_med.geometry import transform_points
from tips_med.grounding import Grounding

COLUMNS: Mapping[str, type] = {
    "study": str,
    "query": str,
    "answer": str,
    "holds": bool,
    "probability": float,
    "score": float,
    "reasons": str,
    "instances": int,
    "volume_ml": float,
    "side": str,
    "third": str,
    "region": str,
    "lobes": str,
    "peak_x_mm": float,
    "peak_y_mm": float,
    "peak_z_mm": float,
    "peak_slice": int,
    "peak_instance_number": int,
    "assessed_fraction": float,
    "seconds": float,
    "study_seconds": float,
}
"""Columns with their types; every value but the first three may be missing."""

_DIGITS = 6
_THIRDS = ("upper", "middle", "lower")


def answer_rows(key: str, answers: Sequence[Grounding], seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """The rows of one study.

    Args:
        key: Key of the study.
        answers: Answers about it, in the order of the queries.
        seconds: Seconds of each step: ``answer N`` of each answer, from 1.

    Returns:
        A dictionary with the keys of ``COLUMNS`` for each answer: ``side``, ``third``, ``region`` and ``lobes`` are
        those of the instance with the highest score, ``peak_x_mm`` to ``peak_z_mm`` are LPS in mm, ``peak_slice``
        counts from 0, and ``peak_instance_number`` is the DICOM Instance Number (0020,0013) of that slice.
    """
    whole = round(sum(seconds.values()), 3)
    return [_row(key, one, seconds.get(f"answer {n}"), whole) for n, one in enumerate(answers, start=1)]


def _row(key: str, answer: Grounding, seconds: float | None, study_seconds: float) -> dict[str, Any]:
    presence = answer.presence
    first = answer.instances[0] if answer.instances else None
    third = first.region.partition(" ")[0] if first is not None else ""
    x, y, z = answer.peak_lps if all(math.isfinite(value) for value in answer.peak_lps) else (None, None, None)
    k = None if x is None else _slice(answer)
    numbers = answer.scan.provenance.instance_numbers
    return {
        "study": key,
        "query": answer.query.text,
        "answer": presence.state,
        "holds": presence.holds,
        "probability": _rounded(presence.probability),
        "score": _rounded(presence.score),
        "reasons": ";".join(presence.reasons),
        "instances": len(answer.instances),
        "volume_ml": _rounded(sum(one.volume_ml for one in answer.instances)),
        "side": (first.side if first is not None else None) or "",
        "third": third if third in _THIRDS else "",
        "region": first.region if first is not None else "",
        "lobes": ";".join(first.lobes) if first is not None else "",
        "peak_x_mm": _rounded(x),
        "peak_y_mm": _rounded(y),
        "peak_z_mm": _rounded(z),
        "peak_slice": k,
        "peak_instance_number": (numbers[k] or None) if k is not None and numbers else None,
        "assessed_fraction": _rounded(presence.assessed_fraction),
        "seconds": seconds,
        "study_seconds": study_seconds,
    }


def _slice(answer: Grounding) -> int:
    index = transform_points(np.linalg.inv(answer.scan.lps_from_kji), np.array([answer.peak_lps]))[0]
    return int(np.clip(round(float(index[0])), 0, answer.scan.shape[0] - 1))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)
