"""Answers of a server: made once however many ask, made again after they left memory, written as files."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tips_med.errors import QueryError, TipsMedError
from tips_med.exporters.folder import default_exporters, write_answers
from tips_med.exporters.nifti import write_heat, write_labels, write_mask, write_volume
from tips_med.exporters.report import report
from tips_med.folders import whole_file, whole_folder
from tips_med.grounding import Declined, Grounding, ground
from tips_med.grounding.questions import understand
from tips_med.model import GroundingModel
from tips_med.query import Query
from tips_med.server.about import about_model
from tips_med.server.coverage import not_assessed
from tips_med.server.live import LiveStudy
from tips_med.server.refusals import RequestError, unknown
from tips_med.server.sources import source_path
from tips_med.server.studies import Studies

FOLDER = "answers"
QUESTION = "question.json"
DICOM = "dicom"
DICOM_FILES = ("seg.dcm", "sr.dcm", "key_image.dcm", "key_objects.dcm")


@dataclass(frozen=True)
class Question:
    """What was asked, from which its answer can be made at any time.

    Attributes:
        text: Text as typed; it may hold several queries.
        position: Position of this query among those of the text, from 0.
        threshold: Threshold of the mask on the map's probability, 0 to 1; the calibrated one when None.
    """

    text: str
    position: int
    threshold: float | None

    def id(self, weights_sha256: str) -> str:
        """Name of its answer: the same for the same question to the same weights, 20 hexadecimal digits."""
        content = json.dumps([self.text, self.position, self.threshold, weights_sha256])
        return hashlib.sha256(content.encode()).hexdigest()[:20]


class Answers:
    """Asks studies; all methods may be called from any thread.

    Args:
        studies: The studies.
        model: Model that answers.
    """

    def __init__(self, studies: Studies, model: GroundingModel) -> None:
        self.studies, self.model = studies, model
        self._making: dict[tuple[str, str], Future[Grounding]] = {}
        self._lock = threading.Lock()
        self._dicom = threading.Lock()

    def ask(self, study: str, text: str, threshold: float | None = None) -> dict[str, Any]:
        """Asks a study; one text may be several queries.

        Returns:
            The report that ``tips-med ground`` writes; each answer has its ``id`` and the ``urls`` of its files, too.

        Raises:
            RequestError: ``not-found``, ``not-ready``.
            QueryError: None of the queries can be answered.
        """
        live = self.studies.live(study)
        queries, declined = understand([text], self.model)
        refused = {one.position for one in declined}
        positions = [n for n in range(len(queries) + len(declined)) if n not in refused]
        questions = [Question(text, n, threshold) for n in positions]
        answers = [self._answer(study, live, question, query) for question, query in zip(questions, queries)]
        for question in questions:
            self._note(study, question)
        return self._report(study, questions, answers, declined)

    def again(self, study: str, answer_id: str) -> dict[str, Any]:
        """The report of one answer.

        Raises:
            RequestError: ``not-found``.
        """
        question = self._question(study, answer_id)
        return self._report(study, [question], [self.get(study, answer_id)], ())

    def get(self, study: str, answer_id: str) -> Grounding:
        """An answer that was given before.

        Raises:
            RequestError: ``not-found``, ``not-ready``.
        """
        live = self.studies.live(study)
        question = self._question(study, answer_id)
        queries, declined = understand([question.text], self.model)
        refused = {one.position for one in declined}
        positions = [n for n in range(len(queries) + len(declined)) if n not in refused]
        if question.position not in positions:
            raise unknown("answer")
        return self._answer(study, live, question, queries[positions.index(question.position)])

    def write(self, study: str, answer_id: str, name: str, folder: Path) -> Path:
        """Writes one file of an answer into a folder.

        Args:
            study: Id of the study.
            answer_id: Id of the answer.
            name: ``mask.nii.gz``, ``heat.nii.gz``, ``labels.nii.gz``, ``not-assessed.nii.gz``, ``figure.png``,
                ``words/N.nii.gz`` or one of ``DICOM_FILES``.
            folder: Folder to write to.

        Raises:
            RequestError: ``not-found``.
            OutputError: The study is not of DICOM images, say.
        """
        answer = self.get(study, answer_id)
        if name in DICOM_FILES:
            return self._dicom_file(study, answer_id, answer, name)
        if name.startswith("words/"):
            parts = list(answer.token_heat)
            number = name.removeprefix("words/").removesuffix(".nii.gz")
            if not number.isdecimal() or int(number) >= len(parts):
                raise unknown("word")
            heat = answer.token_heat[parts[int(number)]].astype(np.float32)
            return write_volume(heat, answer.lps_from_heat, folder / "word.nii.gz", "tips_med word", intent="estimate")
        if name == "not-assessed.nii.gz":
            hidden = not_assessed(self.studies.live(study).view(), answer, self.model).astype(np.uint8)
            return write_volume(hidden, answer.lps_from_heat, folder / name, "tips_med not assessed", intent="label")
        writers: dict[str, Callable[[Grounding, Path], Path]] = {
            "mask.nii.gz": write_mask,
            "heat.nii.gz": write_heat,
            "labels.nii.gz": write_labels,
            "figure.png": _write_figure,
        }
        if name not in writers:
            raise unknown("file")
        return writers[name](answer, folder / name)

    def archive(self, study: str, answer_ids: Sequence[str], path: Path) -> Path:
        """Writes a zip archive of the files that ``tips-med ground --out`` writes.

        Raises:
            RequestError: ``not-found``.
        """
        answers = [self.get(study, one) for one in answer_ids]
        if not answers:
            raise RequestError(400, "bad-request", "no answer is named", expected="?answers=ID,ID")
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            out = Path(made) / "answers"
            write_answers(answers, out, about_model(self.model), exporters=default_exporters())
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(one for one in out.rglob("*") if one.is_file()):
                    archive.write(file, file.relative_to(out).as_posix())
        return path

    def _answer(self, study: str, live: LiveStudy, question: Question, query: Query) -> Grounding:
        name = question.id(self.model.sha256)
        found = live.answer(name)
        if found is not None:
            return found
        with self._lock:
            other = self._making.get((study, name))
            mine: Future[Grounding] = Future()
            if other is None:
                self._making[study, name] = mine
        if other is not None:
            return other.result()
        try:
            view = live.view()
            answer = ground(view, query, _with_threshold(self.model, query, question.threshold))
            live.keep(name, answer, view)
            mine.set_result(answer)
            return answer
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._making[study, name]

    def _note(self, study: str, question: Question) -> None:
        folder = self.studies.folder(study) / FOLDER
        own = folder / question.id(self.model.sha256)
        if not (own / QUESTION).is_file():
            with whole_file(own / QUESTION) as partial:
                partial.write_text(json.dumps(vars(question)), "utf-8")
            kept = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime)
            for old in kept[: -self.studies.settings.max_answers]:
                shutil.rmtree(old, ignore_errors=True)

    def _question(self, study: str, answer_id: str) -> Question:
        folder = self.studies.folder(study) / FOLDER
        known = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        try:
            if answer_id not in known:
                raise unknown("answer")
            question = Question(**json.loads((folder / answer_id / QUESTION).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            raise unknown("answer") from None
        if question.id(self.model.sha256) != answer_id:  # other weights answered
            raise unknown("answer")
        return question

    def _report(
        self, study: str, questions: Sequence[Question], answers: Sequence[Grounding], declined: Sequence[Declined]
    ) -> dict[str, Any]:
        scan = answers[0].scan
        content = report(scan, answers, about_model(self.model), declined=declined)
        given = [entry for entry in content["answers"] if "declined" not in entry]
        dicom = bool(self.studies.record(study).about.get("dicom"))
        for question, answer, entry in zip(questions, answers, given):
            name = question.id(self.model.sha256)
            base = f"/v1/studies/{study}/answers/{name}"
            entry["id"] = name
            entry["threshold"] = question.threshold
            entry["urls"] = {
                "self": base,
                **{kind: f"{base}/{kind}.nii.gz" for kind in ("mask", "heat", "labels", "not-assessed")},
                "figure": f"{base}/figure.png",
                "seg": f"{base}/seg.dcm" if dicom and answer.instances else None,
                "sr": f"{base}/sr.dcm" if dicom else None,
                "words": [
                    {"word": word, "url": f"{base}/words/{n}.nii.gz"} for n, word in enumerate(answer.token_heat)
                ],
            }
        return content

    def _dicom_file(self, study: str, answer_id: str, answer: Grounding, name: str) -> Path:
        """A DICOM object of an answer; all of them are written together, since they refer to each other."""
        folder = self.studies.folder(study)
        made = folder / FOLDER / answer_id / DICOM
        with self._dicom:
            if not made.is_dir():
                from tips_med.exporters.dicom import DicomExporter

                record = self.studies.record(study)
                source = source_path(record.kind, folder, record.options)
                exporter = DicomExporter(source, weights_sha256=self.model.sha256)
                try:
                    with whole_folder(made) as partial:
                        exporter.export(answer, partial)
                except TipsMedError as error:
                    error.path = None
                    raise
        if not (made / name).is_file():
            raise RequestError(
                404, "not-found", "the answer has no such object", expected="an answer that found something"
            )
        return made / name


def _with_threshold(model: GroundingModel, query: Query, threshold: float | None) -> GroundingModel:
    """The model with another threshold for masks; what is present or absent stays as it is calibrated."""
    if threshold is None:
        return model
    calibration = {term: replace(one, threshold=threshold) for term, one in model.card.calibration.items()}
    term = query.finding or query.structure
    if term is not None and term.id not in calibration:
        raise QueryError(
            f"{term.name} has no calibration, so its mask has no other threshold",
            remedy="leave the threshold out",
            code="uncalibrated",
        )
    return replace(model, card=replace(model.card, calibration=calibration))


def _write_figure(answer: Grounding, path: Path) -> Path:
    from tips_med.exporters.figure import write_figure

    return write_figure(answer, path)
