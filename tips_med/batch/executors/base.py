"""The small interface behind which every place to run workers stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tips_med.discovery import FoundScan

if TYPE_CHECKING:
    from tips_med.batch.work import Answering


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Attributes:
        key: Key of the study.
        state: ``answered``; ``skipped`` where it had been; ``failed``; ``unfinished`` where its workers are gone.
        code: Why it failed; empty otherwise.
        seconds: Time it took.
    """

    key: str
    state: Literal["answered", "skipped", "failed", "unfinished"]
    code: str = ""
    seconds: float = 0.0


class Executor(ABC):
    """Has scans answered by workers.

    A worker is made by ``Answering.start``, once, and answers scan after scan; all results go into the batch's folder.
    An executor has to give each scan to a worker, to give it to another one when a worker dies, and to tell what became
    of it. A worker that is given a scan which is done already says so at once.
    """

    @abstractmethod
    def run(self, scans: Sequence[FoundScan], work: Answering) -> Iterator[Outcome]:
        """Has every scan answered once.

        Args:
            scans: Scans to answer, in any order.
            work: What makes workers; can be pickled.

        Yields:
            What became of each scan, as it comes.

        Raises:
            TipsMedError: No worker can work: weights are missing, the disk is full, the cluster is not there.
        """
