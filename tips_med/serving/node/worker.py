"""Works off the ledger: answers quiet studies, sends the answers, tries again, quarantines."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom

from tips_med.errors import TipsMedError
from tips_med.serving.archive import Archive, dicom_objects
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger, LedgerStudy, Outgoing
from tips_med.serving.node.receiver import sync_folder
from tips_med.serving.node.rules import Rule, plan_queries, series_in

logger = logging.getLogger(__name__)

Answerer = Callable[[Path, str, Sequence[str], Path], None]
"""Called with a study's folder, a Series Instance UID, queries, and a new folder to write DICOM results into."""

_LONGEST_PAUSE_S = 300.0


class Worker:
    """One study at a time; every step can be killed and taken up again.

    Results get their UIDs when they are made and keep them. They are made in a folder beside their place, moved there
    when whole, and entered in the ledger before the first is sent: before that nothing has left the node, after that
    nothing is made again. The archive is searched for an object whose sending was cut off before it is sent again.

    Args:
        folder: The node's folder, with ``incoming`` and ``results``.
        ledger: Ledger with the studies to answer.
        archive: Archive that results are sent to.
        rules: Rules: which queries for which series.
        answerer: Component that answers the queries.
        audit: Audit log.
        quiet_s: Seconds without a new image before a study is queried.
        attempts: Number of failed attempts before a study is quarantined, 1 or more.
        pause_s: Pause in seconds before the second attempt; it doubles with each.
        beat: Called after each step of the work.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        archive: Archive,
        rules: Sequence[Rule],
        answerer: Answerer,
        audit: Audit,
        *,
        quiet_s: float = 30.0,
        attempts: int = 3,
        pause_s: float = 10.0,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.beat = beat
        self.incoming, self.results = folder / "incoming", folder / "results"
        self.ledger, self.archive, self.rules, self.answerer, self.audit = ledger, archive, rules, answerer, audit
        self.quiet_s, self.attempts, self.pause_s = quiet_s, attempts, pause_s

    def tidy(self) -> None:
        """After a crash: drops what no ledger entry stands for; its senders or the rules bring it again."""
        states = self.ledger.states()
        for folder in self.incoming.iterdir():
            known = self.ledger.pending(folder.name)
            for file in folder.iterdir():
                if file.name not in known:
                    file.unlink()
            if not known:
                folder.rmdir()
        for folder in self.results.iterdir():
            if states.get(folder.name) not in ("sending", "quarantined"):
                shutil.rmtree(folder)

    def step(self) -> bool:
        """Does one thing, if there is one.

        Returns:
            Whether there was.
        """
        study = self.ledger.next(self.quiet_s)
        if study is None:
            return False
        if study.attempts >= self.attempts:
            # Counted before each attempt, so that a study which kills the process comes to an end too.
            self._quarantine(study, "the process ended during each attempt")
            return True
        try:
            (self._send if study.state == "sending" else self._answer)(study)
        except TipsMedError as error:
            self._put_off(study, error.code)
        except Exception as error:  # a bug must not end the node, nor its message name the patient
            self._put_off(study, type(error).__name__)
        return True

    def _put_off(self, study: LedgerStudy, reason: str) -> None:
        """Tries a study again later, or quarantines it; an archive that is down is waited for as long as it takes."""
        waits = study.state == "sending" and reason == "unreachable"
        if study.attempts + 1 >= self.attempts and not waits:
            self._quarantine(study, reason)
            return
        pause = min(self.pause_s * 2**study.attempts, _LONGEST_PAUSE_S)
        # An attempt to answer was counted when it began.
        counted = study.state == "sending" and not waits
        self.ledger.postpone(study.key, time.time() + pause, reason, counted=counted)
        self.audit.note("failed", study.uid, reason=reason, attempt=study.attempts + 1)
        logger.warning("study %s: %s; again in %.0f s", self.audit.hashed(study.uid), reason, pause)

    def _quarantine(self, study: LedgerStudy, reason: str) -> None:
        """Keeps images and results on disk for a person to look at; new images of the study bring it back."""
        self.ledger.mark_finished(study.key, "quarantined", reason)
        self.audit.note("quarantined", study.uid, reason=reason, state=study.state)
        logger.error("study %s quarantined: %s", self.audit.hashed(study.uid), reason)

    def _answer(self, study: LedgerStudy) -> None:
        self.ledger.postpone(study.key, 0.0, "being answered")
        taken = self.ledger.pending(study.key)
        planned = plan_queries(self.rules, series_in(self.incoming / study.key))
        if not planned:
            self.audit.note("no-series-fits", study.uid, images=len(taken))
            self._forget(study, taken)
            return
        made, place = self.results / f"{study.key}.part", self.results / study.key
        for old in (made, place):
            shutil.rmtree(old, ignore_errors=True)
        try:
            made.mkdir()
            for n, (series_uid, queries) in enumerate(planned):
                self.beat()
                (made / f"{n:03d}").mkdir()
                self.answerer(self.incoming / study.key, series_uid, queries, made / f"{n:03d}")
            if self.ledger.pending(study.key) != taken:
                # More has come in while the answer was made, so it is about an incomplete study.
                self.ledger.postpone(study.key, 0.0, "more images", counted=False)
                shutil.rmtree(made)
                return
            _sync_tree(made)
            made.rename(place)
            sync_folder(self.results)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self.ledger.to_send(study.key, taken, [_outgoing(file) for file in dicom_objects([place])])
        self.audit.note("answered", study.uid, series=len(planned), images=len(taken))

    def _send(self, study: LedgerStudy) -> None:
        for one in self.ledger.outgoing(study.key):
            self.beat()
            if one.state == "sent":
                continue
            if one.state == "tried" and one.sop_uid in self.archive.instances(_study_of(one.path), one.series_uid):
                self.ledger.mark(one.path, "sent")
                continue
            self.ledger.mark(one.path, "tried")
            self.archive.store([one.path])
            self.ledger.mark(one.path, "sent")
        count = len(self.ledger.outgoing(study.key))
        self.audit.note("sent", study.uid, objects=count)
        self._forget(study, set())

    def _forget(self, study: LedgerStudy, taken: set[str]) -> None:
        """Ends a study and frees its place; images that have come meanwhile stay."""
        self.ledger.mark_finished(study.key, "done", taken=taken)
        shutil.rmtree(self.results / study.key, ignore_errors=True)
        kept = self.ledger.pending(study.key)
        for file in (self.incoming / study.key).iterdir():
            if file.suffix == ".dcm" and file.name not in kept and self.ledger.knows(file.name):
                file.unlink(missing_ok=True)


def _outgoing(file: Path) -> Outgoing:
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
    return Outgoing(file, str(header.SeriesInstanceUID), str(header.SOPInstanceUID), "waiting")


def _study_of(file: Path) -> str:
    """The study that a result goes into: another than its source's where results are de-identified."""
    return str(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
