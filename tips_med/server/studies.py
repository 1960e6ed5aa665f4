"""The studies of a server: taken in, encoded one after the other, found again after a crash."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import TipsMedError
from tips_med.grounding import encode
from tips_med.grounding.maps import prepare
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.server.about import about_scan, about_study
from tips_med.server.live import LiveStudy, Shelf
from tips_med.server.record import ENDED, StudyRecord, read_record
from tips_med.server.refusals import RequestError, busy, error_entry, fault_of, internal_error, unknown
from tips_med.server.settings import ServerSettings
from tips_med.server.sources import read_source_scan, refers_to_dicom, study_id, take_upload

log = logging.getLogger(__name__)

ENCODED = "study.safetensors"
_INCOMING = ".incoming-"


class _Cancelled(Exception):  # noqa: N818 (no error)
    """The study is no longer wanted."""


class Studies:
    """Takes studies in and encodes them in one thread of its own; all methods may be called from any thread.

    A study's folder appears when its source is whole in it, its record and its encoded form are written whole, and
    whatever was not encoded when the server ended is encoded when it starts again.

    Args:
        model: Model that encodes.
        settings: Folder and limits.
    """

    def __init__(self, model: GroundingModel, settings: ServerSettings) -> None:
        self.model, self.settings = model, settings
        self.root = settings.folder / "studies"
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.shelf = Shelf(self._load, settings.memory_mb << 20)
        self._records: dict[str, StudyRecord] = {}
        self._queue: deque[str] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.on_forgotten: Callable[[str], None] = lambda study: None
        """Called with the id of each study that was removed."""
        self._restore()

    def start(self) -> None:
        """Starts encoding."""
        self._thread = threading.Thread(target=self._work, name="tips-med-encode", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends encoding; what is not encoded yet stays queued for the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(30)

    def folder(self, study: str) -> Path:
        """The folder of a known study."""
        return self.root / self.record(study).id

    def record(self, study: str) -> StudyRecord:
        """A known study.

        Raises:
            RequestError: ``not-found``.
        """
        with self._changed:
            if study not in self._records:
                raise unknown("study")
            return self._records[study]

    def entries(self) -> list[dict[str, Any]]:
        """All studies as clients see them, the last used first; those that were only registered are not among them."""
        with self._changed:
            records = sorted(self._records.values(), key=lambda one: -one.used)
            return [record.entry() for record in records]

    def add_upload(self, stream: BinaryIO, options: dict[str, Any]) -> StudyRecord:
        """Takes an upload in; the same content, read in the same way, is the same study.

        Raises:
            RequestError: ``busy``, ``not-a-scan``.
            OutputError: ``no-room``.
        """
        self._check_queue()
        incoming = self.root / f"{_INCOMING}{uuid4().hex}"
        incoming.mkdir(mode=0o700)
        try:
            kind, digest = take_upload(stream, incoming, self.settings)
            return self._enter(StudyRecord(study_id("upload", digest, options), kind, options), incoming)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def add_reference(self, kind: str, options: dict[str, Any]) -> StudyRecord:
        """Takes in a series of an archive (``dicomweb``), or a path that the operator named (``local``).

        Raises:
            RequestError: ``busy``.
        """
        self._check_queue()
        return self._enter(StudyRecord(study_id(kind, "", options), kind, options), None)

    def forget(self, study: str) -> None:
        """Cancels what is being done for a study, and removes all that is kept of it.

        Raises:
            RequestError: ``not-found``.
        """
        record = self.record(study)
        with self._changed:
            record.state = "cancelled" if record.state != "ready" else record.state
            del self._records[study]
            with suppress(ValueError):
                self._queue.remove(study)
            self._remove_files(study)
            self._changed.notify_all()
        self.shelf.drop(study)
        self.on_forgotten(study)

    def live(self, study: str) -> LiveStudy:
        """An encoded study, to be queried.

        Raises:
            RequestError: ``not-found``, or ``not-ready``.
        """
        self.check_ready(study)
        return self.shelf.get(study)

    def check_ready(self, study: str) -> None:
        """Checks that a study is encoded, and notes that it is used.

        Raises:
            RequestError: ``not-found``, or ``not-ready``.
        """
        record = self.record(study)
        if record.state != "ready":
            raise RequestError(
                409, "not-ready", f"the study is {record.state}", remedy="wait until its events report that it is ready"
            )
        record.used = time.time()

    def __contains__(self, study: str) -> bool:
        """Whether a study is known."""
        with self._changed:
            return study in self._records

    def _load(self, study: str) -> EncodedStudy:
        path = self.root / study / ENCODED
        try:
            return EncodedStudy.load(path)
        except TipsMedError:
            if study in self._records:
                with self._changed:
                    self._requeue(self._records[study])
            raise RequestError(
                409, "not-ready", "the study has to be encoded again", remedy="wait until it is"
            ) from None

    def _check_queue(self) -> None:
        with self._changed:
            waiting = sum(record.state in ("queued", "reading", "encoding") for record in self._records.values())
        if waiting >= self.settings.max_queued:
            raise busy("studies")

    def _enter(self, record: StudyRecord, incoming: Path | None) -> StudyRecord:
        folder = self.root / record.id
        with self._changed:
            known = self._records.get(record.id)
            if known is not None:
                known.used = time.time()
                if known.state in ("failed", "cancelled"):
                    self._requeue(known)
                return known
            self._make_room()
            shutil.rmtree(folder, ignore_errors=True)
            if incoming is None:
                folder.mkdir(mode=0o700)
                record.write(folder)
            else:
                record.write(incoming)
                incoming.rename(folder)
            self._records[record.id] = record
            self._queue.append(record.id)
            self._changed.notify_all()
        log.info("study %s: %s, waits", record.id[:8], record.kind)
        return record

    def _requeue(self, record: StudyRecord) -> None:
        record.state, record.error, record.done, record.total = "queued", None, 0, 0
        if record.id not in self._queue:
            self._queue.append(record.id)
        self._changed.notify_all()

    def _make_room(self) -> None:
        ended = sorted((one for one in self._records.values() if one.state in ENDED), key=lambda one: one.used)
        while len(self._records) >= self.settings.max_studies and ended:
            oldest = ended.pop(0)
            del self._records[oldest.id]
            self._remove_files(oldest.id)
            self.shelf.drop(oldest.id)
            self.on_forgotten(oldest.id)

    def _remove_files(self, study: str) -> None:
        """Removes a study's folder under another name, so that no half of one is ever found."""
        gone = self.root / f"{_INCOMING}{uuid4().hex}"
        with suppress(OSError):
            (self.root / study).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _restore(self) -> None:
        for folder in sorted(self.root.iterdir()):
            record = read_record(folder) if not folder.name.startswith(_INCOMING) else None
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._records[record.id] = record
            whole = (folder / ENCODED).is_file() and record.weights_sha256 == self.model.sha256
            if record.state not in ("failed", "cancelled") and not (record.state == "ready" and whole):
                with self._changed:
                    self._requeue(record)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                record = self._records.get(self._queue.popleft())
            if record is not None:
                self._encode(record)

    def _encode(self, record: StudyRecord) -> None:
        began = time.monotonic()
        try:
            self._move(record, "reading")
            found = read_source_scan(record.kind, self.root / record.id, record.options, self.settings)
            self._check(record, began)
            study = self._encoded(record, found, began)
            self._check(record, began)
            prepare(study, self.model)
            record.about = about_scan(study.scan) | about_study(study, self.model)
            record.about["dicom"] = refers_to_dicom(record.kind, record.options, study.scan)
            study.save(self.root / record.id / ENCODED)
            self.shelf.put(record.id, study)
            record.weights_sha256 = self.model.sha256
            self._move(record, "ready")
            log.info("study %s: ready after %.1f s", record.id[:8], time.monotonic() - began)
        except _Cancelled:
            self._cancelled(record)
        except TipsMedError as error:
            self._failed(record, error_entry(error))
        except Exception as error:  # whatever a file leads to; its text may quote the file
            log.error("study %s: %s", record.id[:8], fault_of(error))
            self._failed(record, internal_error())

    def _encoded(self, record: StudyRecord, found: Scan | EncodedStudy, began: float) -> EncodedStudy:
        if isinstance(found, EncodedStudy):
            if found.weights_sha256 == self.model.sha256:
                return found
            found = found.scan
        record.about = about_scan(found)
        self._move(record, "encoding")

        def progress(done: int, total: int) -> None:
            record.done, record.total = done, total
            self._check(record, began)

        return encode(found, self.model, progress)

    def _check(self, record: StudyRecord, began: float) -> None:
        if self._stopping or self._records.get(record.id) is not record:
            raise _Cancelled
        if time.monotonic() - began > self.settings.encoding_s:
            raise RequestError(
                504,
                "too-slow",
                f"reading and encoding took longer than {self.settings.encoding_s:g} s",
                remedy="send a smaller scan, or ask the operator to raise --encoding-s",
            )

    def _move(self, record: StudyRecord, state: Any) -> None:
        with self._changed:
            if self._records.get(record.id) is not record:
                raise _Cancelled
            record.state = state
            record.write(self.root / record.id)
            self._changed.notify_all()

    def _failed(self, record: StudyRecord, error: dict[str, Any]) -> None:
        record.error = error
        log.info("study %s: failed (%s)", record.id[:8], error["code"])
        record.state = "failed"
        with suppress(_Cancelled, OSError):  # on a full disk it is known in memory alone
            self._move(record, "failed")

    def _cancelled(self, record: StudyRecord) -> None:
        if not self._stopping:
            record.state = "cancelled"
            self.shelf.drop(record.id)
            if record.id not in self._records:
                self._remove_files(record.id)  # what was written after it was forgotten
