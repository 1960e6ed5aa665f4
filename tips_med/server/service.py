"""All that the routes of a server share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tips_med.model import GroundingModel
from tips_med.server.answers import Answers
from tips_med.server.comparisons import Comparisons
from tips_med.server.opening import Page
from tips_med.server.priors import Priors
from tips_med.server.record import StudyRecord
from tips_med.server.refusals import unknown
from tips_med.server.settings import ServerSettings
from tips_med.server.studies import Studies
from tips_med.server.work import Pool

MADE = ".made-"
"""Beginning of the names of folders with files on their way to clients."""


class Service:
    """Studies, answers and threads of a server.

    Args:
        model: Model that encodes and answers.
        settings: Places, callers, limits.

    Attributes:
        queries: Threads that answer queries and write their files.
        intake: Threads that take uploads in.
        local: Scans of this machine that the operator named, by id; see ``register``.
        page: What the page knows first.
    """

    def __init__(self, model: GroundingModel, settings: ServerSettings) -> None:
        self.model, self.settings = model, settings
        for left in settings.folder.glob(f"{MADE}*"):  # by a server that was killed
            shutil.rmtree(left, ignore_errors=True)
        self.studies = Studies(model, settings)
        self.answers = Answers(self.studies, model)
        self.priors = Priors(self.studies, model)
        self.comparisons = Comparisons(self.studies, self.priors, model)
        self.queries = Pool("queries", settings.workers, settings.max_waiting, settings.answer_s)
        self.intake = Pool("uploads", 2, settings.max_queued, settings.upload_s)
        self.local: dict[str, dict[str, Any]] = {}
        self.page = Page(settings.token)

    def register(self, path: Path, **reading: Any) -> str:
        """Names a scan or an encoded study of this machine, so that clients may ask for it.

        Args:
            path: What ``read_scan`` takes, or a study that ``tips-med encode`` made.
            **reading: ``series``, ``phase``, ``fill_gaps``, ``untilt``, ``modality``, see ``read_scan``.

        Returns:
            Its id, to be sent as ``{"local": ID}``.
        """
        name = str(len(self.local) + 1)
        self.local[name] = {"path": str(path.resolve()), **{k: v for k, v in reading.items() if v}}
        return name

    def add_local(self, name: str) -> StudyRecord:
        """Takes in a scan that was registered.

        Raises:
            RequestError: ``not-found``, ``busy``.
        """
        if name not in self.local:
            raise unknown("scan")
        return self.studies.add_reference("local", self.local[name])

    def start(self) -> None:
        """Starts encoding."""
        self.studies.start()

    def stop(self) -> None:
        """Ends all threads."""
        self.studies.stop()
        self.priors.stop()
        self.queries.close()
        self.intake.close()
