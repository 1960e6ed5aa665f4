"""Prior scans of studies: registered one pair after the other, in the background."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tips_med.encoders.study import is_study
from tips_med.errors import ReadError, TipsMedError
from tips_med.exporters.comparison import registration_entry
from tips_med.exporters.report import plain_json
from tips_med.followup import Registration, register
from tips_med.followup.pairing import check_patients
from tips_med.followup.registration import check_modalities
from tips_med.model import GroundingModel
from tips_med.readers import PatientTrace, read_patient_trace
from tips_med.server.record import ENDED
from tips_med.server.refusals import RequestError, busy, error_entry, fault_of, internal_error, unknown
from tips_med.server.sources import source_path
from tips_med.server.studies import Studies

log = logging.getLogger(__name__)

FOLDER = "priors"
"""Folder in that of the current study; in it one folder for each prior study."""

MAX_REGISTERED = 16
"""Maximum number of registrations that are kept, in memory alone; an older one is made again when it is asked for."""


class _Cancelled(Exception):  # noqa: N818 (no error)
    """The registration is no longer wanted."""


@dataclass(frozen=True, eq=False)
class Registered:
    """Two studies that were found to be a pair.

    Attributes:
        registration: Registration of the two.
        days_between: Days from the prior to the current scan; None where a source states no date.
        notes: Notes about the pair, one sentence each.
    """

    registration: Registration
    days_between: int | None
    notes: tuple[str, ...]


@dataclass(eq=False)
class PriorRecord:
    """A prior study of a current one.

    Attributes:
        current: Id of the current study.
        prior: Id of the prior study.
        allow_different: Whether two scans with different Patient IDs are compared.
        state: State of the registration.
        done: Rounds done so far.
        total: Maximum of rounds; 0 when not known yet.
        error: Why it failed, see ``error_entry``.
        found: The registration, once it is ready.
    """

    current: str
    prior: str
    allow_different: bool = False
    state: Literal["queued", "registering", "ready", "failed", "cancelled"] = "queued"
    done: int = 0
    total: int = 0
    error: dict[str, Any] | None = None
    found: Registered | None = None

    def entry(self) -> dict[str, Any]:
        """The pair as clients see it."""
        url = f"/v1/studies/{self.current}/priors/{self.prior}"
        entry = {
            "current": self.current,
            "prior": self.prior,
            "url": url,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "error": self.error,
        }
        if self.found is not None:
            quality = self.found.registration.quality
            entry |= {
                "days_between": self.found.days_between,
                "notes": list(self.found.notes),
                "registration": plain_json(registration_entry(quality)),
                "urls": {"displacement": f"{url}/displacement.nii.gz"},
            }
        return entry


class Priors:
    """Registers pairs of studies in one thread of its own; all methods may be called from any thread.

    Args:
        studies: The studies.
        model: Model that encoded them.
    """

    def __init__(self, studies: Studies, model: GroundingModel) -> None:
        self.studies, self.model = studies, model
        self._records: OrderedDict[tuple[str, str], PriorRecord] = OrderedDict()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tips-med-register")
        studies.on_forgotten = self._forget_all
        for left in studies.root.glob(f"*/{FOLDER}/*"):
            if left.name not in studies:
                shutil.rmtree(left, ignore_errors=True)

    def add(self, current: str, prior: str, *, allow_different: bool = False) -> PriorRecord:
        """Begins to register a prior study; the same pair is registered once.

        Args:
            current: Id of the current study.
            prior: Id of the prior study.
            allow_different: Go on where the Patient IDs differ.

        Raises:
            RequestError: ``not-found``, ``not-ready``, ``same-study``, ``busy``.
        """
        if current == prior:
            raise RequestError(
                422, "same-study", "the prior scan is the current one", expected="two scans", remedy="open another scan"
            )
        for study in (current, prior):
            self.studies.check_ready(study)
        with self._lock:
            known = self._records.get((current, prior))
            if known is not None and known.state not in ("failed", "cancelled"):
                self._records.move_to_end((current, prior))
                return known
            waiting = sum(one.state not in ENDED for one in self._records.values())
            if waiting >= self.studies.settings.max_queued:
                raise busy("registrations")
            record = PriorRecord(current, prior, allow_different)
            self._records[current, prior] = record
            self._records.move_to_end((current, prior))
            ended = [pair for pair, one in self._records.items() if one.state in ENDED]
            for pair in ended[: max(0, len(self._records) - MAX_REGISTERED)]:
                del self._records[pair]
            self._thread.submit(self._register, record)
        return record

    def record(self, current: str, prior: str) -> PriorRecord:
        """A pair that was added.

        Raises:
            RequestError: ``not-found``.
        """
        for study in (current, prior):
            self.studies.record(study)
        with self._lock:
            if (current, prior) not in self._records:
                raise unknown("prior scan")
            return self._records[current, prior]

    def found(self, current: str, prior: str) -> Registered:
        """The registration of a pair.

        Raises:
            RequestError: ``not-found``, ``not-ready``.
        """
        record = self.record(current, prior)
        if record.found is None:
            raise RequestError(
                409,
                "not-ready",
                f"the registration is {record.state}",
                remedy="wait until its events report that it is ready",
            )
        return record.found

    def folder(self, current: str, prior: str) -> Path:
        """Folder for the comparisons of two known studies.

        Raises:
            RequestError: ``not-found``.
        """
        return self.studies.folder(current) / FOLDER / self.studies.record(prior).id

    def forget(self, current: str, prior: str) -> None:
        """Cancels the registration of a pair, and removes its comparisons.

        Raises:
            RequestError: ``not-found``.
        """
        record = self.record(current, prior)
        with self._lock:
            self._drop((current, prior))
        if record.state not in ENDED:
            record.state = "cancelled"
        shutil.rmtree(self.folder(current, prior), ignore_errors=True)

    def stop(self) -> None:
        """Ends the work: what waits is dropped, and what is at work ends within some seconds."""
        self._stopping = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _forget_all(self, study: str) -> None:
        """Removes what is kept of a study that was forgotten."""
        with self._lock:
            for pair in [pair for pair in self._records if study in pair]:
                self._drop(pair)
        for left in self.studies.root.glob(f"*/{FOLDER}/{study}"):
            shutil.rmtree(left, ignore_errors=True)

    def _drop(self, pair: tuple[str, str]) -> None:
        record = self._records.pop(pair, None)
        if record is not None and record.state not in ENDED:
            record.state = "cancelled"

    def _register(self, record: PriorRecord) -> None:
        began = time.monotonic()

        def check() -> None:
            if self._stopping or record.state == "cancelled":
                raise _Cancelled
            if time.monotonic() - began > self.studies.settings.encoding_s:
                raise RequestError(
                    504,
                    "too-slow",
                    f"registering took longer than {self.studies.settings.encoding_s:g} s",
                    remedy="ask the operator to raise --encoding-s",
                )

        def progress(done: int, total: int) -> None:
            record.done, record.total = done, total
            check()

        try:
            check()
            record.state = "registering"
            prior, current = (self.studies.live(one).view() for one in (record.prior, record.current))
            check_modalities(prior, current)
            days, notes = self._check_patients(record)
            found = register(prior, current, self.model, progress)
            check()
            record.found = Registered(found, days, notes)
            record.state = "ready"
            log.info("study %s: registered after %.1f s", record.current[:8], time.monotonic() - began)
        except _Cancelled:
            record.state = "cancelled"
        except TipsMedError as error:
            self._failed(record, error_entry(error))
        except Exception as error:  # its text may quote a file
            log.error("study %s: %s", record.current[:8], fault_of(error))
            self._failed(record, internal_error())

    def _failed(self, record: PriorRecord, error: dict[str, Any]) -> None:
        if record.state == "cancelled":
            return
        record.error = error
        log.info("study %s: not registered (%s)", record.current[:8], error["code"])
        record.state = "failed"

    def _check_patients(self, record: PriorRecord) -> tuple[int | None, tuple[str, ...]]:
        traces = [self._trace(one) for one in (record.prior, record.current)]
        try:
            return check_patients(*traces, allow_different=record.allow_different)
        except ReadError as error:
            if error.code == "different-patients":
                error.remedy = "compare them only if you know that both are of one patient"
            elif error.code == "prior-is-later":
                error.remedy = "open the other one, and this one as its prior scan"
            raise

    def _trace(self, study: str) -> PatientTrace:
        """Whose scan a study is, read from its source: it is kept nowhere."""
        record, scan = self.studies.record(study), self.studies.live(study).study.scan
        path = source_path(record.kind, self.studies.folder(study), record.options)
        if scan.provenance.format != "dicom" or not scan.provenance.series_uid or is_study(path):
            return PatientTrace()
        try:
            return read_patient_trace(path, scan.provenance.series_uid)
        except (
            ReadError
        ):  # a source of this machine that is there no more: the pair is then not checked, and a note says so
            return PatientTrace()
