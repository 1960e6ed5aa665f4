"""What a store of an archive has to do; ``lance`` is the one that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tips_med.archive.conditions import Condition
from tips_med.archive.record import About, StudyRecord
from tips_med.errors import TipsMedError


class ArchiveError(TipsMedError):
    """An archive that is missing, damaged, or of another version."""

    code = "archive"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is stored of some terms for all studies, without opening one.

    Attributes:
        keys: Keys of the studies.
        logits: Highest evidence by term, float32 [study side height].
        known: Whether the place is known, bool [study side height].
        whole: Whether the place is shown nearly whole, bool [study side height].
    """

    keys: Sequence[str]
    logits: dict[str, np.ndarray]
    known: np.ndarray
    whole: np.ndarray


@runtime_checkable
class Store(Protocol):
    """An archive's studies. One process writes at a time, any number read beside it.

    A study is there whole or not at all, whenever the writer is stopped; a reader sees what was there when it asked.
    """

    about: About | None
    """What holds for all studies; None before the first."""

    def put(self, record: StudyRecord, about: About) -> None:
        """Stores a study in place of an earlier one of the same key.

        Raises:
            ArchiveError: It cannot be written.
        """
        ...

    def keys(self) -> set[str]:
        """Keys of all studies."""
        ...

    def count(self, where: Condition | None = None) -> int:
        """Number of studies that meet a condition; of all without one."""
        ...

    def evidence(self, terms: Sequence[str], sides: Sequence[str], where: Condition | None = None) -> Evidence:
        """Evidence for some terms of all studies that meet a condition; other sides than ``sides`` may be left out."""
        ...

    def nearest(self, direction: np.ndarray, count: int, where: Condition | None = None) -> list[tuple[str, float]]:
        """Studies with the vectors most like a direction, with the cosine of the nearest, the highest first."""
        ...

    def records(self, keys: Sequence[str]) -> dict[str, StudyRecord]:
        """Whole records by key; keys that are not there are left out."""
        ...

    def maintain(self) -> None:
        """Puts small writes together, drops replaced ones, and indexes vectors where there are many."""
        ...
