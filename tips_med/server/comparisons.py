"""Comparisons with a prior study: made once a text, kept as files beside the current study."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

from tips_med.exporters.comparison import comparison_report, write_displacement, write_masks
from tips_med.folders import whole_folder
from tips_med.followup import compare_queries
from tips_med.followup.comparison import comparable_query
from tips_med.grounding.questions import understand
from tips_med.model import GroundingModel
from tips_med.server.about import about_model
from tips_med.server.priors import Priors
from tips_med.server.refusals import unknown
from tips_med.server.studies import Studies

REPORT = "report.json"
MASKS = ("prior.nii.gz", "current.nii.gz", "prior_on_current.nii.gz")
_ID = re.compile(r"[0-9a-f]{20}")


class Comparisons:
    """Asks pairs of studies; all methods may be called from any thread.

    Args:
        studies: The studies.
        priors: Their registrations.
        model: Model that answers.
    """

    def __init__(self, studies: Studies, priors: Priors, model: GroundingModel) -> None:
        self.studies, self.priors, self.model = studies, priors, model
        self._writing = threading.Lock()

    def ask(self, current: str, prior: str, text: str) -> dict[str, Any]:
        """Compares two registered studies; one text may be several queries.

        Returns:
            The report that ``tips-med compare`` writes; it has an ``id``, and each comparison the ``urls`` of its label
            maps, too.

        Raises:
            RequestError: ``not-found``, ``not-ready``.
            QueryError: None of the queries can be compared.
        """
        found = self.priors.found(current, prior)
        content = json.dumps([text, self.model.sha256, found.days_between, found.notes])
        name = hashlib.sha256(content.encode()).hexdigest()[:20]
        kept = self._read(current, prior, name)
        if kept is not None:
            return kept
        queries, declined = understand([text], self.model, comparable_query)
        before, now = (self.studies.live(one).view() for one in (prior, current))
        made = compare_queries(before, now, queries, self.model, found.registration)
        report = comparison_report(
            made, about_model(self.model), days_between=found.days_between, declined=declined, notes=found.notes
        )
        report["id"] = name
        base = f"/v1/studies/{current}/priors/{prior}/comparisons/{name}"
        given = [entry for entry in report["comparisons"] if "declined" not in entry]
        for n, entry in enumerate(given):
            entry["urls"] = {file.partition(".")[0]: f"{base}/{n}/{file}" for file in MASKS}
        folder = self.priors.folder(current, prior)
        with self._writing:
            if not (folder / name).is_dir():
                with whole_folder(folder / name) as partial:
                    (partial / REPORT).write_text(json.dumps(report, ensure_ascii=False, allow_nan=False), "utf-8")
                    for n, one in enumerate(made):
                        (partial / str(n)).mkdir()
                        write_masks(one, partial / str(n))
                self._keep_last(folder)
        return report

    def again(self, current: str, prior: str, name: str) -> dict[str, Any]:
        """The report of a comparison that was made before.

        Raises:
            RequestError: ``not-found``.
        """
        kept = self._read(current, prior, name)
        if kept is None:
            raise unknown("comparison")
        return kept

    def mask(self, current: str, prior: str, name: str, number: int, file: str) -> Path:
        """A label map of a comparison, one of ``MASKS``.

        Raises:
            RequestError: ``not-found``.
        """
        if _ID.fullmatch(name) is None or file not in MASKS:
            raise unknown("comparison")
        path = self.priors.folder(current, prior) / name / str(number) / file
        if not path.is_file():
            raise unknown("comparison")
        return path

    def displacement(self, current: str, prior: str, folder: Path) -> Path:
        """Writes where each place of the current scan lies in the prior one, see ``write_displacement``.

        Raises:
            RequestError: ``not-found``, ``not-ready``.
        """
        found = self.priors.found(current, prior)
        scan = self.studies.live(current).study.scan
        return write_displacement(found.registration, scan, folder / "displacement.nii.gz")

    def _read(self, current: str, prior: str, name: str) -> dict[str, Any] | None:
        folder = self.priors.folder(current, prior)
        if _ID.fullmatch(name) is None:
            return None
        try:
            return json.loads((folder / name / REPORT).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _keep_last(self, folder: Path) -> None:
        made = sorted((one for one in folder.iterdir() if _ID.fullmatch(one.name)), key=lambda one: one.stat().st_mtime)
        for old in made[: -self.studies.settings.max_answers]:
            shutil.rmtree(old, ignore_errors=True)
