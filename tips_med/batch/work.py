"""A worker: one model in memory, and one study after the other into the batch's folder."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from tips_med.batch.executors.base import Outcome
from tips_med.batch.folder import MAX_STARTS, RECORD, RECORD_FORMAT, BatchFolder
from tips_med.batch.rows import answer_rows
from tips_med.batch.settings import BatchSettings
from tips_med.discovery import FoundScan, Refusal, without_identity_of
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import OutputError, TipsMedError, WeightsError
from tips_med.exporters.base import Exporter
from tips_med.exporters.folder import REPORT, default_exporters, write_answers
from tips_med.exporters.masks import MaskExporter
from tips_med.exporters.named import named_exporters
from tips_med.exporters.thumbnail import ThumbnailExporter
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.ground import adapters_of
from tips_med.grounding.modality import with_stated_modality
from tips_med.grounding.questions import understand
from tips_med.model import GroundingModel

log = logging.getLogger(__name__)


def batch_exporters(settings: BatchSettings) -> list[Exporter]:
    """What writes the files of each answer; made before any work, so that a missing extra is told at once.

    Raises:
        MissingExtraError: An extra is missing.
        ConfigError: An exporter is unknown.
    """
    own: Sequence[Exporter] = ()
    if settings.outputs == "masks":
        own = (MaskExporter(),)
    elif settings.outputs == "all":
        own = default_exporters()
    return [ThumbnailExporter(), *own, *named_exporters(settings.exporter)]


@dataclass(frozen=True)
class Answering:
    """What a worker needs to begin.

    Attributes:
        out: Folder of the batch.
        settings: What is asked, and how.
        secret: Secret of the keys.
        load: Loads the model onto a device; a function of a module, or a ``functools.partial`` of one.
        device: Device: ``auto``, ``cpu`` or ``cuda``.
    """

    out: Path
    settings: BatchSettings
    secret: bytes = field(repr=False)
    load: Callable[[str], GroundingModel]
    device: str = "auto"

    def start(self, cores: int | None = None, device: str | None = None) -> Worker:
        """A worker in this process.

        Args:
            cores: Number of cores that it may use; PyTorch's own choice when None.
            device: Device, where it is not that of ``self``.

        Raises:
            TipsMedError: The model cannot be loaded, or is another one than that of the batch.
        """
        if cores is not None:
            torch.set_num_threads(max(1, cores))
        model = self.load(device or self.device)
        if model.sha256 != self.settings.weights_sha256:
            raise WeightsError(
                f"the weights here are {model.sha256[:12]}",
                expected=f"those that the batch was begun with, {self.settings.weights_sha256[:12]}",
                remedy="install the same version and weights on every machine",
                code="other-weights",
            )
        return Worker(self, model)


class Worker:
    """Answers studies one by one; one that cannot be answered is noted, and the next one begun.

    Args:
        work: What it was started with.
        model: The model.
    """

    def __init__(self, work: Answering, model: GroundingModel) -> None:
        self.work, self.model, self.folder = work, model, BatchFolder(work.out)
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.queries, _ = understand(work.settings.queries, model)
        self.exporters = batch_exporters(work.settings)
        self.private = None
        if work.settings.deidentify:
            from tips_med.deidentification import Deidentifier

            self.private = Deidentifier(work.secret)

    def answer(self, scan: FoundScan) -> Outcome:
        """Answers one study, unless that is done.

        Raises:
            OutputError: Results cannot be written, which is no fault of the study.
        """
        begun = time.monotonic()
        if self.folder.is_done(scan.key, self.work.settings.digest):
            return self._told(Outcome(scan.key, "skipped"))
        if self.folder.begin(scan.key) > MAX_STARTS:
            found = f"the worker died {MAX_STARTS} times while it answered this study"
            remedy = "give the workers more memory, and run it again with --retry"
            return self._failed(Refusal(scan.path, "worker-died", found, "", remedy, scan.key), begun)
        try:
            self._write(scan)
        except OutputError as error:
            if self.folder.is_done(scan.key, self.work.settings.digest):
                return self._told(Outcome(scan.key, "skipped"))  # another process was first, and cleared up
            if error.code == "not-writable":
                raise
            return self._failed(without_identity_of(error, self.work.secret, scan.path, scan.key), begun)
        except TipsMedError as error:
            return self._failed(without_identity_of(error, self.work.secret, scan.path, scan.key), begun)
        except (Exception, MemoryError) as error:  # a bug, or what a library makes of a damaged file
            # What an exception says may quote the file; where it came from does not.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            found = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
            refusal = Refusal(scan.path, "unexpected", found, "", "report it, with this line", scan.key)
            return self._failed(refusal, begun)
        first = (self.folder.record(scan.key) or {}).get("worker") == self.name
        return self._told(Outcome(scan.key, "answered" if first else "skipped", seconds=time.monotonic() - begun))

    def _write(self, scan: FoundScan) -> None:
        settings, clock = self.work.settings, _Clock()
        study = self._study(scan, clock)
        answers: list[Grounding] = []
        for query in self.queries:
            answers.append(ground(study, query, self.model))
            clock.stop(f"answer {len(answers)}")
        about = {"name": self.model.card.name, "weights_sha256": self.model.sha256}
        with self.folder.new_study(scan.key, settings.digest) as partial:
            write_answers(answers, partial, about, exporters=self.exporters)
            clock.stop("write")
            record = {
                "format": RECORD_FORMAT,
                "study": scan.key,
                "settings": settings.digest,
                "worker": self.name,
                "seconds": clock.seconds,
                "folders": _answer_folders(partial),
                "answers": answer_rows(scan.key, answers, clock.seconds),
            }
            try:
                (partial / RECORD).write_text(json.dumps(record, allow_nan=False) + "\n", "utf-8")
            except OSError as error:
                raise OutputError("cannot be written", path=self.work.out, code="not-writable") from error

    def _study(self, scan: FoundScan, clock: _Clock) -> EncodedStudy:
        settings = self.work.settings
        if scan.is_encoded:
            study = scan.load()
            clock.stop("read")
            if self.private is not None:
                study = replace(study, scan=self.private.scan(study.scan))
            return study
        volume = scan.read(fill_gaps=settings.fill_gaps, untilt=settings.untilt)
        clock.stop("read")
        volume = with_stated_modality(volume, settings.modality)
        if self.private is not None:
            volume = self.private.scan(volume)
        study = encode(volume, self.model, adapters=adapters_of(self.queries, self.model))
        clock.stop("encode")
        return study

    def _failed(self, refusal: Refusal, begun: float) -> Outcome:
        self.folder.fail(refusal, self.work.settings.digest)
        return self._told(Outcome(refusal.key, "failed", refusal.code, time.monotonic() - begun))

    def _told(self, outcome: Outcome) -> Outcome:
        """Writes a line of the worker's log, which tells a cluster's driver what became of the study."""
        path = self.folder.log_path(self.name)
        line = {"time": round(time.time(), 3), "settings": self.work.settings.digest, **asdict(outcome)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", path=path, code="not-writable") from error
        return outcome


def _answer_folders(study: Path) -> list[str]:
    """Folders of the answers, in their order, as the report names them."""
    return [answer["folder"] for answer in json.loads((study / REPORT).read_text("utf-8"))["answers"]]


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def stop(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = round(now - self._last, 3)
        self._last = now
