"""Work beside Orthanc's own: its threads are never kept waiting, and a failure stays here."""

from __future__ import annotations

import collections
import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orthanc

from tips_med_orthanc.archive import NoSuchSeriesError, Series, ct_series, ct_series_of_study, read_mark
from tips_med_orthanc.asking import ask_series
from tips_med_orthanc.server import Server, ServerError
from tips_med_orthanc.settings import Settings

MAX_WAITING = 10_000
MAX_WAITING_QUESTIONS = 20
MAX_KEPT = 200
PAUSES_S = (5.0, 60.0, 600.0)
"""Before a study is asked again, when the server could not be asked."""


@dataclass
class Task:
    """A question of a user.

    Attributes:
        series: Orthanc's identifiers of the series that are asked.
        query: What is asked.
        state: ``queued``, ``sending``, what the server reports, ``asking``, ``done`` or ``failed``.
        done: Parts of the state that are done.
        total: Parts of the state in all; 0 where it has none.
        results: One entry a series: ``series``, ``number`` and ``answers``, or ``error``.
        error: Why it failed as a whole.
    """

    series: tuple[str, ...]
    query: str
    state: str = "queued"
    done: int = 0
    total: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, str] | None = None

    def entry(self) -> dict[str, Any]:
        """The task as JSON."""
        return {name: value for name, value in vars(self).items() if name != "series"}

    def tell(self, state: str, done: int, total: int) -> None:
        """Notes how far it is."""
        self.state, self.done, self.total = state, done, total


class Tasks:
    """New studies on one thread, questions of users on another.

    Args:
        settings: What to ask, and whom.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stopping = threading.Event()
        self._server = Server(settings, self._stopping)
        self._studies: queue.Queue[tuple[str, int]] = queue.Queue(MAX_WAITING)
        self._questions: queue.Queue[Task] = queue.Queue(MAX_WAITING_QUESTIONS)
        self._kept: collections.OrderedDict[str, Task] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._timers: set[threading.Timer] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(self._studies, self._do_study), daemon=True),
            threading.Thread(target=self._run, args=(self._questions, self._do_question), daemon=True),
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends; what waits is given up."""
        self._stopping.set()
        with self._lock:
            for timer in self._timers:
                timer.cancel()
        for thread in self._threads:
            thread.join(5)

    def add_study(self, study: str, attempt: int = 0) -> None:
        """Asks the configured queries of a study's CT series, in a while."""
        if not self.settings.queries or self._stopping.is_set():
            return
        try:
            self._studies.put_nowait((study, attempt))
        except queue.Full:
            orthanc.LogError(f"tips-med: study {study} is not asked: {MAX_WAITING} studies wait already")

    def add_question(self, series: tuple[str, ...], query: str) -> str | None:
        """Asks series, in a while; the id of the task, or None when too many wait."""
        name, task = secrets.token_hex(16), Task(series, query)
        try:
            self._questions.put_nowait(task)
        except queue.Full:
            return None
        with self._lock:
            self._kept[name] = task
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return name

    def task(self, name: str) -> Task | None:
        """A task by its id; None when it is unknown or was forgotten."""
        with self._lock:
            return self._kept.get(name)

    def _run(self, waiting: queue.Queue[Any], do: Callable[[Any], None]) -> None:
        while not self._stopping.is_set():
            try:
                item = waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                do(item)
            except Exception as error:  # its text may quote an image
                orthanc.LogError(f"tips-med: a fault of the plugin: {type(error).__name__}")
                if isinstance(item, Task):
                    item.state, item.error = "failed", _fault()

    def _do_study(self, item: tuple[str, int]) -> None:
        study, attempt = item
        try:
            found = ct_series_of_study(study)
        except NoSuchSeriesError:  # no CT, or deleted in the meantime
            return
        for series in found:
            asked = read_mark(series)
            queries = [one for one in self.settings.queries if one not in asked]
            if not queries:
                continue
            try:
                entries = self._ask(series, queries, True, lambda *_: None)
            except ServerError as error:
                orthanc.LogError(f"tips-med: series {series.id} is not answered: {error.code}: {error}")
                if error.again:
                    self._again(study, attempt)
                    return
                continue
            stored = sum(len(entry["stored"]) for entry in entries)
            orthanc.LogWarning(f"tips-med: series {series.id}: {len(entries)} answers, {stored} objects stored")
            for entry in entries:
                if entry["declined"]:
                    orthanc.LogWarning(f"tips-med: a configured query was declined: {entry['declined']}")

    def _again(self, study: str, attempt: int) -> None:
        if attempt >= len(PAUSES_S) or self._stopping.is_set():
            return

        def now() -> None:
            with self._lock:
                self._timers.discard(timer)
            self.add_study(study, attempt + 1)

        timer = threading.Timer(PAUSES_S[attempt], now)
        timer.daemon = True
        with self._lock:
            self._timers.add(timer)
        timer.start()

    def _do_question(self, task: Task) -> None:
        for name in task.series:
            try:
                series = ct_series(name)
                result: dict[str, Any] = {"series": series.id, "number": series.number}
                result["answers"] = self._ask(series, [task.query], False, task.tell)
            except ServerError as error:
                result = {"series": name, "error": error.entry()}
            except NoSuchSeriesError:
                result = {"series": name, "error": {"code": "not-found", "message": "the series is gone"}}
            task.results.append(result)
        task.tell("done", 0, 0)

    def _ask(self, series: Series, queries: list[str], reports: bool, tell: Callable[..., Any]) -> list[dict[str, Any]]:
        by_reference = self.settings.dicomweb is not None
        return ask_series(self._server, series, queries, by_reference=by_reference, reports=reports, tell=tell)


def _fault() -> dict[str, str]:
    return {"code": "internal", "message": "a fault of the plugin; Orthanc's log names its kind"}
