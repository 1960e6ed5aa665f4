"""Studies in memory: the most recently used ones, with their answers; the others are on disk alone."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import Grounding

MAX_ANSWERS = 12
"""Number of answers of a study that are kept in memory; any other one is made again when it is read."""


@dataclass(eq=False)
class LiveStudy:
    """An encoded study and its last answers, shared by all clients.

    Attributes:
        study: The study. Queries work on views of it, so that they can run at the same time. What one of them makes of
            adapters is in all views.
        answers: Last answers by id, each with the view of the study that its word maps are made from.
        lock: Guards ``answers`` and the study's caches.
    """

    study: EncodedStudy
    answers: OrderedDict[str, tuple[Grounding, EncodedStudy]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def view(self) -> EncodedStudy:
        """The study with caches of its own: what is known by now, to which a query adds without disturbing others."""
        with self.lock:
            cache = {name: dict(kept) if isinstance(kept, dict) else kept for name, kept in self.study.cache.items()}
            return dataclasses.replace(self.study, kept=dict(self.study.kept), cache=cache)

    def keep(self, answer_id: str, answer: Grounding, view: EncodedStudy) -> None:
        """Keeps an answer, and what making it has found out for the next one."""
        with self.lock:
            self.study.cache.update(view.cache)
            self.study.kept.update(view.kept)
            self.answers[answer_id] = answer, view
            self.answers.move_to_end(answer_id)
            while len(self.answers) > MAX_ANSWERS:
                self.answers.popitem(last=False)

    def answer(self, answer_id: str) -> Grounding | None:
        """An answer that is still in memory."""
        with self.lock:
            kept = self.answers.get(answer_id)
            return None if kept is None else kept[0]

    @property
    def size_bytes(self) -> int:
        """Memory of the study and its answers in bytes, about."""
        size = self.study.scan.voxels.nbytes
        for features in (self.study.features, *dict(self.study.taught).values()):
            size += features.patches.nbytes + (0 if features.fine is None else features.fine.nbytes)
        with self.lock:
            answers = [answer for answer, _ in self.answers.values()]
        return size + sum(2 * answer.heat.nbytes + answer.labels.nbytes for answer in answers)


class Shelf:
    """The least recently used studies leave memory first.

    Args:
        load: Reads a study from disk, by its id.
        max_bytes: Memory for studies and answers in bytes; the last used study stays in any case.
    """

    def __init__(self, load: Callable[[str], EncodedStudy], max_bytes: int) -> None:
        self._load, self._max_bytes = load, max_bytes
        self._live: OrderedDict[str, LiveStudy] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, study_id: str) -> LiveStudy:
        """A study, from memory or from disk; read once however many ask for it."""
        with self._lock:
            found = self._live.get(study_id)
            own = self._loading.setdefault(study_id, threading.Lock())
        if found is None:
            with own:
                with self._lock:
                    found = self._live.get(study_id)
                found = found or self.put(study_id, self._load(study_id))
        self._touch(study_id)
        return found

    def put(self, study_id: str, study: EncodedStudy) -> LiveStudy:
        """Takes a study that was just encoded or read."""
        live = LiveStudy(study)
        with self._lock:
            self._live[study_id] = live
        self._touch(study_id)
        return live

    def drop(self, study_id: str) -> None:
        """Forgets a study that is in memory."""
        with self._lock:
            self._live.pop(study_id, None)
            self._loading.pop(study_id, None)

    def ids(self) -> tuple[str, ...]:
        """The studies in memory, the least recently used first."""
        with self._lock:
            return tuple(self._live)

    def _touch(self, study_id: str) -> None:
        with self._lock:
            if study_id in self._live:
                self._live.move_to_end(study_id)
            sizes = {one: live.size_bytes for one, live in self._live.items()}
            while len(self._live) > 1 and sum(sizes.values()) > self._max_bytes:
                oldest, _ = self._live.popitem(last=False)
                del sizes[oldest]
