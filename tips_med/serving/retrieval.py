"""C-GET and C-MOVE at work: a thread of its own talks to the archive, the caller takes files as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import evt

from tips_med.errors import OutputError
from tips_med.serving.archive import ArchiveError
from tips_med.serving.bounds import Bounds
from tips_med.serving.spool import spooling

_LOOK_S = 0.2
_END_S = 10.0
_OUT_OF_RESOURCES = 0xA700


class Retrieval:
    """State that the requesting thread and the caller share.

    Args:
        folder: Folder for the objects.
        bounds: Limits on size and disk.
        timeout_s: Timeout in seconds without any data from the archive.

    Attributes:
        handlers: Event handlers of pynetdicom, for all associations.
        turned_away: Calling and called AE title of rejected peers.
        received: Number of received objects.
    """

    def __init__(self, folder: Path, bounds: Bounds, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.turned_away: list[tuple[str, str]] = []
        self.received = 0
        self.handlers: list[Any] = [
            *spooling(folder, bounds, self._hear),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._note_caller),
        ]
        self._arrived: queue.Queue[Path | BaseException | None] = queue.Queue(maxsize=8)
        self._stopped = threading.Event()
        self._heard = time.monotonic()
        self._ends: list[Callable[[], None]] = []

    def ending(self, end: Callable[[], None]) -> None:
        """Says what ends an association or a server when the caller wants no more."""
        self._ends.append(end)
        if self._stopped.is_set():
            end()

    def files(self, talk: Callable[[Retrieval], None], address: str) -> Iterator[Path]:
        """Files as they come, while ``talk`` runs in a thread; whatever that raises is raised here.

        Args:
            talk: Function that runs the requests until all objects have come.
            address: Address of the archive, for messages.

        Raises:
            ArchiveError: ``unreachable`` when the archive is silent for too long, or what ``talk`` raises.
        """

        def work() -> None:
            try:
                talk(self)
                self._put(None)
            except BaseException as error:  # handed to the caller
                self._put(error)

        thread = threading.Thread(target=work, daemon=True, name="tips-med-retrieve")
        thread.start()
        try:
            while (item := self._next(thread, address)) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._stopped.set()
            for end in self._ends:
                with suppress(Exception):  # it may have ended by itself
                    end()
            thread.join(_END_S)

    def _next(self, thread: threading.Thread, address: str) -> Path | BaseException | None:
        waiting_since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return self._arrived.get(timeout=_LOOK_S)
            if time.monotonic() - max(waiting_since, self._heard) > self.timeout_s or not thread.is_alive():
                with suppress(queue.Empty):
                    return self._arrived.get_nowait()
                raise ArchiveError(
                    f"{address} has sent nothing for {self.timeout_s:g} s",
                    remedy="try again; raise timeout_s for an archive that fetches old studies from a tape",
                    code="unreachable",
                )

    def _put(self, item: Path | BaseException | None) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._arrived.put(item, timeout=_LOOK_S)
                return True
        return False

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _note_caller(self, event: Any) -> None:
        if event.assoc.is_acceptor:
            request = event.assoc.requestor.primitive
            self.turned_away.append((str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()))

    def _store(self, event: Any) -> int:
        try:
            self.received += 1
            return 0x0000 if self._put(event.request.DataSet.take()) else _OUT_OF_RESOURCES
        except (OutputError, OSError) as error:
            self._put(error)
            return _OUT_OF_RESOURCES
