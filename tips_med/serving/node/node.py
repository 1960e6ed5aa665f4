"""The node: receiver, worker and status together, until it is stopped."""

from __future__ import annotations

import fcntl
import logging
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tips_med.errors import ConfigError, OutputError
from tips_med.serving.archive import Archive
from tips_med.serving.bounds import Bounds
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.heartbeat import Heartbeat
from tips_med.serving.node.ledger import Ledger
from tips_med.serving.node.poller import Poller, PollSettings
from tips_med.serving.node.receiver import Receiver
from tips_med.serving.node.rules import Rule
from tips_med.serving.node.status import StatusServer
from tips_med.serving.node.worker import Answerer, Worker

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.5
_DISK_PAUSE_S = 5.0
_DAY_S = 86400.0


@dataclass(frozen=True)
class NodeSettings:
    """How a node listens and how patient it is.

    Attributes:
        callers: AE titles that may send; others are rejected. Without any, the node does not listen, and searches the
            archive instead (``poll``).
        title: The node's own AE title.
        host: Address to listen on, loopback by default.
        port: Port for DICOM.
        status_port: Port for health and metrics, always on loopback.
        quiet_s: Seconds without a new image before a study is queried.
        attempts: Number of failed attempts before a study is quarantined, 1 or more.
        pause_s: Pause in seconds before the second attempt; it doubles with each.
        max_instance_mb: Maximum size of an object in MB; larger ones are refused.
        min_free_mb: Minimum free space on the disk in MB; nothing is accepted below it.
        max_associations: Maximum number of simultaneous associations.
        deidentify: Write results without patient identity and with other UIDs (DICOM PS3.15 basic profile), mapped with
            the secret in ``deidentify.key`` in the node's folder.
        poll: Search an archive for studies, also or instead.
        stall_s: Seconds without any work (no look at the queue, no image, no part of an answer) after which
            ``/healthz`` reports that the node hangs.
        keep_days: Days for which the received images of a finished study are remembered.
    """

    callers: Sequence[str] = ()
    title: str = "TIPS_NODE"
    host: str = "127.0.0.1"
    port: int = 11112
    status_port: int = 9180
    quiet_s: float = 30.0
    attempts: int = 3
    pause_s: float = 10.0
    max_instance_mb: int = 2048
    min_free_mb: int = 1024
    max_associations: int = 8
    deidentify: bool = False
    poll: PollSettings | None = None
    stall_s: float = 600.0
    keep_days: int = 30


class Node:
    """A node on a folder of its own.

    Args:
        folder: Folder for queue, images and results; made if missing. One node at a time may use it.
        archive: Archive that results are sent to.
        rules: Rules: which queries for which series.
        answerer: Component that answers the queries.
        settings: Settings of the node.
        source: Archive that is searched for studies; that of the results when None.
        result_study: Function from a Study Instance UID to that of the study for its results.
        heartbeat: Record of all work; the answerer reports progress to it too.

    Raises:
        ConfigError: A port cannot be listened on, another node uses the folder, there are no rules, or no way in.
        OutputError: The folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        archive: Archive,
        rules: Sequence[Rule],
        answerer: Answerer,
        settings: NodeSettings,
        *,
        source: Archive | None = None,
        result_study: Callable[[str], str] = str,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        _check(rules, settings)
        self._stop, self._forget_at = threading.Event(), 0.0
        self.heartbeat = heartbeat or Heartbeat(settings.stall_s)
        self._keep_days = settings.keep_days
        with ExitStack() as opened:
            opened.enter_context(_only_one(folder))
            self.audit = Audit(folder)
            self.ledger = Ledger(folder / "ledger.sqlite")
            opened.callback(self.ledger.close)
            self.worker = Worker(
                folder,
                self.ledger,
                archive,
                rules,
                answerer,
                self.audit,
                quiet_s=settings.quiet_s,
                attempts=settings.attempts,
                pause_s=settings.pause_s,
                beat=self.heartbeat.beat,
            )
            self.worker.tidy()
            bounds = Bounds(settings.max_instance_mb << 20, settings.min_free_mb << 20)
            self.poller = self.receiver = None
            if settings.poll is not None:
                self.poller = Poller(
                    folder,
                    self.ledger,
                    source or archive,
                    self.audit,
                    settings.poll,
                    answers=archive,
                    result_study=result_study,
                    quiet_s=settings.quiet_s,
                    attempts=settings.attempts,
                    pause_s=settings.pause_s,
                    stopped=self._is_stopped,
                    bounds=bounds,
                )
            self.status = StatusServer(
                self.ledger, folder, self.heartbeat, self._last_look, "127.0.0.1", settings.status_port
            )
            opened.callback(self.status.close)
            if settings.callers:
                self.receiver = Receiver(
                    folder / "incoming",
                    self.ledger,
                    self.audit,
                    title=settings.title,
                    callers=settings.callers,
                    host=settings.host,
                    port=settings.port,
                    max_associations=settings.max_associations,
                    bounds=bounds,
                )
                opened.callback(self.receiver.close)
            self._opened = opened.pop_all()

    def _is_stopped(self) -> bool:
        self.heartbeat.beat()
        return self._stop.is_set()

    def _last_look(self) -> float | None:
        return self.poller.last_look if self.poller is not None else None

    def stop(self) -> None:
        """Stops the node after the work at hand."""
        self._stop.set()

    def run(self) -> None:
        """Works until ``stop``, SIGTERM or SIGINT."""
        with suppress(ValueError):  # only the main thread may set them; elsewhere there is ``stop``
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        self.heartbeat.beat()
        self.audit.note("started")
        try:
            while not self._is_stopped():
                if not self._step():
                    self._stop.wait(_LOOK_AGAIN_S)
        finally:
            self.heartbeat.end()
            self.audit.note("stopped")
            self._opened.close()

    def _step(self) -> bool:
        """Does one thing; a disk that is full for the moment is waited for."""
        try:
            if time.time() >= self._forget_at:
                self._forget_at = time.time() + _DAY_S
                self.ledger.purge(time.time() - self._keep_days * _DAY_S)
            return self.worker.step() or (self.poller is not None and self.poller.step())
        except (OSError, sqlite3.Error) as error:
            logger.error("the node's folder cannot be written to (%s); trying again", type(error).__name__)
            self._stop.wait(_DISK_PAUSE_S)
            return False


def _check(rules: Sequence[Rule], settings: NodeSettings) -> None:
    """Refuses settings with which nothing would ever happen, or something twice."""
    if not rules:
        raise ConfigError("there are no rules, so nothing would ever be queried", remedy="add rules", code="rules")
    if not settings.callers and settings.poll is None:
        raise ConfigError(
            "no AE title may call, and no archive is polled",
            remedy="name the archive's AE title in callers, or set poll",
            code="callers",
        )
    receive = settings.poll.receive if settings.poll is not None else None
    if receive is not None and settings.callers and (receive.title or settings.title) == settings.title:
        raise ConfigError(
            f"what is fetched by C-MOVE would go to {settings.title}, which takes studies in at another port",
            expected="another AE title in poll.receive",
            remedy="set poll.receive.title, and enter it in the archive with the port of poll.receive",
            code="receive-title",
        )
    if settings.poll is not None and settings.poll.window_days >= settings.keep_days:
        raise ConfigError(
            f"studies of {settings.poll.window_days} days are searched, and forgotten after {settings.keep_days}",
            remedy="raise keep_days above poll.window_days",
            code="keep-days",
        )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Makes the node's folder, and holds it against other nodes."""
    try:
        for part in ("incoming", "results"):
            (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError("another node uses this folder", path=folder, code="in-use") from error
            yield
    except OSError as error:
        raise OutputError(f"cannot be written to ({error.strerror or error})", path=folder) from error
