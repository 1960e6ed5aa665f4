"""Greedy choice of studies that teach much and are not alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tips_med.suggestion.acquisition import StudyValue


@dataclass(frozen=True)
class Selected:
    """A chosen study.

    Attributes:
        index: Its place among the candidates.
        value: Expected gain of its labels (see ``PhraseValue.value``).
        novelty: Distance to the nearest study that is labelled or was chosen before, from 0 (the same) to 1 (as far
            as any candidate is).
        priority: What it was chosen by: the value, weighed by the novelty.
    """

    index: int
    value: float
    novelty: float
    priority: float


def select_diverse(candidates: Sequence[StudyValue], labelled: Sequence[np.ndarray], top: int) -> list[Selected]:
    """Chooses studies one by one: the value of each is weighed by how far it is from all that are chosen.

    This is farthest-first traversal (k-center greedy, Sener and Savarese 2018) in which a study's value counts as
    well: ten scans that are alike teach what one teaches.

    Args:
        candidates: Studies without labels.
        labelled: Embeddings of the studies that have labels, each of length 1.
        top: Number of studies to choose.

    Returns:
        The chosen studies, best first; where all values are 0, the most different ones.
    """
    if not candidates:
        return []
    vectors = np.stack([one.embedding for one in candidates])
    values = np.array([one.value for one in candidates])
    weights = values if values.any() else np.ones(len(candidates))
    near = np.full(len(candidates), np.inf)
    for known in labelled:
        near = np.minimum(near, _distance(vectors, known))
    if not labelled:
        near = _distance(vectors, vectors.mean(0) / max(float(np.linalg.norm(vectors.mean(0))), 1e-6))
    farthest = max(float(near.max()), 1e-6)
    chosen: list[Selected] = []
    left = np.ones(len(candidates), bool)
    while len(chosen) < min(top, len(candidates)):
        novelty = np.clip(near / farthest, 0, 1)
        priority = np.where(left, weights * (0.5 + 0.5 * novelty), -1.0)
        best = int(priority.argmax())
        chosen.append(Selected(best, float(values[best]), float(novelty[best]), float(priority[best])))
        left[best] = False
        near = np.minimum(near, _distance(vectors, vectors[best]))
    return chosen


def _distance(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine distance of unit vectors."""
    return 1 - vectors @ other
