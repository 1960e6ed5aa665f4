"""Looks for studies in an archive instead of waiting for them to be sent, and fetches those that are quiet."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from tips_med.errors import TipsMedError
from tips_med.exporters.dicom.equipment import DESCRIPTION
from tips_med.serving.archive import Archive, MoveDestination, SeriesFound
from tips_med.serving.bounds import Bounds
from tips_med.serving.intake import Stopped, is_uid, take_in
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger, Polled
from tips_med.serving.node.receiver import safe_name, sync_folder

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 300.0
_WAITED_FOR = ("unreachable", "no-room", "not-accepted", "port")
"""It is not the study's fault."""


@dataclass(frozen=True)
class PollSettings:
    """Which studies to search in an archive, and how often.

    Attributes:
        modalities: Modalities of the series to fetch: ``CT``, ``MR``, ``PT``.
        window_days: Number of days before today to search, by Study Date; a study without a date is never found.
        every_s: Seconds between two searches.
        max_studies: Maximum number of studies in one search for each modality.
        receive: Receiver of C-MOVE, for archives without C-GET; None to use C-GET.
    """

    modalities: Sequence[str] = ("CT",)
    window_days: int = 2
    every_s: float = 60.0
    max_studies: int = 1000
    receive: MoveDestination | None = None


class Poller:
    """One study at a time, whole or not at all; every step can be killed and is then done again.

    A study is fetched when its images (their series and numbers) have been the same for ``quiet_s``. They are fetched
    beside their place, moved there, and entered in the ledger in one transaction together with what was taken, so the
    same images are never taken twice. A study that the ledger does not know, but in which a report of ours lies, was
    answered before the ledger was lost, and is left alone.

    Args:
        folder: The node's folder, with ``incoming`` and ``fetched``.
        ledger: Ledger of studies.
        archive: Archive to search.
        audit: Audit log.
        settings: Settings of the search.
        answers: Archive that results are sent to.
        result_study: Function from a Study Instance UID to that of the study for its results.
        quiet_s: Seconds that a study must stay the same.
        attempts: Number of failed fetches before a study is quarantined, 1 or more.
        pause_s: Pause in seconds before the second attempt; it doubles with each.
        bounds: Limits on size and disk; a study with a larger object is not fetched.
        stopped: Function that returns whether to end, called between two images; the study is then fetched again later.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        archive: Archive,
        audit: Audit,
        settings: PollSettings,
        *,
        answers: Archive | None = None,
        result_study: Callable[[str], str] = str,
        quiet_s: float = 30.0,
        attempts: int = 3,
        pause_s: float = 10.0,
        bounds: Bounds | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.incoming, self.fetched = folder / "incoming", folder / "fetched"
        self.ledger, self.archive, self.audit, self.settings = ledger, archive, audit, settings
        self.answers, self.result_study = answers or archive, result_study
        self.quiet_s, self.attempts, self.pause_s = quiet_s, attempts, pause_s
        self.bounds = bounds or Bounds()
        self.stopped = stopped
        self.last_look: float | None = None
        self._next_look = 0.0
        self._failures = 0
        self._counts: dict[str, int] = {}
        shutil.rmtree(self.fetched, ignore_errors=True)  # what a crash left; it is fetched again
        self.fetched.mkdir(mode=0o700)

    def step(self) -> bool:
        """Looks at the archive when it is time to, then fetches a study if one is quiet.

        Returns:
            Whether a study was dealt with.
        """
        self.look_if_due()
        waiting = self.ledger.next_polled(time.time() - self.quiet_s)
        return waiting is not None and self._try_to_fetch(waiting)

    def look_if_due(self) -> None:
        """Looks at the archive when it is time to; one that is down is tried again later."""
        now = time.time()
        if now < self._next_look:
            return
        try:
            self._look()
        except TipsMedError as error:
            self._look_later(now, error.code)
        except (OSError, sqlite3.Error):
            raise  # the node's own disk
        except Exception as error:  # a bug, or what an archive makes a library do, must not end the node
            self._look_later(now, type(error).__name__)
        else:
            self._failures, self.last_look, self._next_look = 0, now, now + self.settings.every_s

    def _look_later(self, now: float, reason: str) -> None:
        self._failures += 1
        pause = min(self.pause_s * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE_S)
        self._next_look = now + max(pause, self.settings.every_s)
        self.audit.note("not-polled", reason=reason)
        logger.warning("the archive cannot be searched: %s; again in %.0f s", reason, self._next_look - now)

    def _look(self) -> None:
        """Notes every study of the window that is new or has changed."""
        since = date.today() - timedelta(days=self.settings.window_days)
        found: dict[str, int] = {}
        for modality in self.settings.modalities:
            for study in self.archive.studies(modality, since, self.settings.max_studies):
                if is_uid(study.uid):
                    found[study.uid] = study.instances
        for uid, instances in found.items():
            # The number of all instances of a study shows, without another request, that nothing was added.
            if instances > 0 and self._counts.get(uid) == instances:
                continue
            self.ledger.see(safe_name(uid), uid, _fingerprint(self._images(uid)), time.time())
        self._counts = found

    def _try_to_fetch(self, study: Polled) -> bool:
        """Fetches a study, or puts it off."""
        if study.attempts >= self.attempts:
            self._quarantine(study, "it could not be fetched")
            return True
        # Counted before, so that a study which kills the process comes to an end too.
        self.ledger.postpone_polled(study.key, 0.0, 1)
        try:
            self._fetch(study)
        except Stopped:
            self.ledger.postpone_polled(study.key, 0.0, -1)
        except TipsMedError as error:
            self._put_off(study, error.code)
        except OSError as error:
            self._put_off(study, "no-room" if error.errno == 28 else type(error).__name__)
        except Exception as error:  # a bug must not end the node, nor its message name the patient
            self._put_off(study, type(error).__name__)
        finally:
            shutil.rmtree(self.fetched / study.key, ignore_errors=True)
        return True

    def _put_off(self, study: Polled, reason: str) -> None:
        waits = reason in _WAITED_FOR
        if study.attempts + 1 >= self.attempts and not waits:
            self._quarantine(study, reason)
            return
        pause = min(self.pause_s * 2**study.attempts, _LONGEST_PAUSE_S)
        self.ledger.postpone_polled(study.key, time.time() + pause, -1 if waits else 0)
        self.audit.note("not-fetched", study.uid, reason=reason, attempt=study.attempts + 1)
        logger.warning("study %s not fetched: %s; again in %.0f s", self.audit.hashed(study.uid), reason, pause)

    def _quarantine(self, study: Polled, reason: str) -> None:
        self.ledger.mark_polled(study.key, "quarantined")
        self.audit.note("quarantined", study.uid, reason=reason, state="polled")
        logger.error("study %s quarantined: %s", self.audit.hashed(study.uid), reason)

    def _fetch(self, study: Polled) -> None:
        series = self._images(study.uid)
        fingerprint = _fingerprint(series)
        if fingerprint != study.fingerprint:  # it has changed since the last look: it is not quiet
            self.ledger.see(study.key, study.uid, fingerprint, time.time())
            return
        if not series or (not self.ledger.has_study(study.key) and self._was_answered(study.uid)):
            self.ledger.mark_polled(study.key, "taken")
            self.audit.note("answered-before" if series else "no-images", study.uid)
            return
        folder = self.fetched / study.key
        folder.mkdir()
        for one in series:
            take_in(
                self.archive,
                study.uid,
                one.uid,
                folder,
                name=lambda uid, _: safe_name(uid) + ".dcm",
                bounds=self.bounds,
                expected=set(self.archive.instances(study.uid, one.uid)),
                stopped=self.stopped,
            )
        names = sorted(path.name for path in folder.iterdir())
        place = self.incoming / study.key
        place.mkdir(exist_ok=True)
        for name in names:
            (folder / name).replace(place / name)
        sync_folder(place)
        self.ledger.enqueue(study.key, study.uid, names)
        self.audit.note("fetched", study.uid, images=len(names))

    def _images(self, study_uid: str) -> list[SeriesFound]:
        """Series to fetch; never those of results, ours or others'."""
        series = self.archive.series(study_uid)
        return [one for one in series if one.modality in self.settings.modalities and is_uid(one.uid)]

    def _was_answered(self, study_uid: str) -> bool:
        series = self.answers.series(self.result_study(study_uid))
        return any(one.modality == "SR" and one.description == DESCRIPTION for one in series)


def _fingerprint(series: Sequence[SeriesFound]) -> str:
    """The same for the same series with as many images each."""
    listed = sorted(f"{one.uid}:{one.instances}" for one in series)
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:32]
