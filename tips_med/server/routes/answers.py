"""Answers: ask, read again, files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from tips_med.server.service import MADE, Service

_TYPES = {".gz": "application/gzip", ".png": "image/png", ".dcm": "application/dicom", ".zip": "application/zip"}


class Ask(BaseModel):
    """A question.

    Attributes:
        query: Findings or structures to search, in words.
        threshold: Threshold of the mask on the map's probability; the calibrated one when null.
    """

    model_config = ConfigDict(extra="forbid")
    query: str = Field(min_length=1, max_length=300)
    threshold: float | None = Field(default=None, ge=0.01, le=0.99)


def answer_routes(service: Service) -> APIRouter:
    """The routes below ``/v1/studies/ID`` that are about answers."""
    routes = APIRouter(prefix="/v1/studies/{study}", tags=["answers"])
    answers = service.answers

    @routes.post("/answers")
    async def ask(study: str, question: Ask) -> dict[str, Any]:
        """Asks an encoded study; one text may be several queries. The report is that of ``tips-med ground``."""
        return await service.queries.run(answers.ask, study, question.query, question.threshold)

    @routes.get("/answers/{answer}")
    async def get_answer(study: str, answer: str) -> dict[str, Any]:
        """The report of one answer again."""
        return await service.queries.run(answers.again, study, answer)

    @routes.get("/answers/{answer}/words/{file}", response_class=FileResponse)
    async def get_word(study: str, answer: str, file: str) -> FileResponse:
        """What one word of the query lights up, NIfTI on the grid of the heat map."""
        return await _written(service, study, answer, f"words/{file}")

    @routes.get("/answers/{answer}/{file}", response_class=FileResponse)
    async def get_file(study: str, answer: str, file: str) -> FileResponse:
        """A file of an answer: mask, heat, labels, not-assessed (.nii.gz), figure.png; seg.dcm, sr.dcm of DICOM."""
        return await _written(service, study, answer, file)

    @routes.get("/archive.zip", response_class=FileResponse)
    async def get_archive(study: str, chosen: Annotated[str, Query(alias="answers", max_length=2000)]) -> FileResponse:
        """The files that ``tips-med ground --out`` writes, of the answers whose ids are given, with commas between."""
        folder = Path(tempfile.mkdtemp(dir=service.settings.folder, prefix=MADE))
        ids = [one for one in chosen.split(",") if one]
        try:
            path = await service.queries.run(answers.archive, study, ids, folder / "answers.zip")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(
            path, media_type="application/zip", filename="answers.zip", background=BackgroundTask(shutil.rmtree, folder)
        )

    return routes


async def _written(service: Service, study: str, answer: str, name: str) -> FileResponse:
    folder = Path(tempfile.mkdtemp(dir=service.settings.folder, prefix=MADE))
    try:
        path = await service.queries.run(service.answers.write, study, answer, name, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, background=BackgroundTask(shutil.rmtree, folder))
