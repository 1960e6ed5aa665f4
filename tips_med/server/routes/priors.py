"""Prior scans beside a study, and what became of its findings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from tips_med.server.routes.events import event_stream
from tips_med.server.service import MADE, Service


class NewPrior(BaseModel):
    """A prior scan of a study.

    Attributes:
        prior: Id of the prior study, which must be encoded.
        allow_different_patients: Compare scans whose Patient IDs differ, as after deidentification.
    """

    model_config = ConfigDict(extra="forbid")
    prior: str = Field(min_length=1, max_length=64)
    allow_different_patients: bool = False


class Compare(BaseModel):
    """A question about both scans.

    Attributes:
        query: Findings to compare, in words.
    """

    model_config = ConfigDict(extra="forbid")
    query: str = Field(min_length=1, max_length=300)


def prior_routes(service: Service) -> APIRouter:
    """The routes below ``/v1/studies/ID/priors``."""
    routes = APIRouter(prefix="/v1/studies/{study}/priors", tags=["priors"])
    priors, comparisons = service.priors, service.comparisons

    @routes.post("", status_code=202)
    async def add_prior(study: str, new: NewPrior) -> JSONResponse:
        """Begins to register an encoded study, the prior one, with this one; the same pair is registered once."""
        return JSONResponse(priors.add(study, new.prior, allow_different=new.allow_different_patients).entry(), 202)

    @routes.get("/{prior}")
    async def get_prior(study: str, prior: str) -> dict[str, Any]:
        """State of the registration, its quality, days between the scans."""
        return priors.record(study, prior).entry()

    @routes.get("/{prior}/events", response_class=StreamingResponse)
    async def follow_prior(study: str, prior: str) -> StreamingResponse:
        """Server-sent events: the registration whenever it changes, until it is ready, failed or cancelled."""
        return event_stream("prior", priors.record(study, prior))

    @routes.delete("/{prior}")
    async def forget_prior(study: str, prior: str) -> dict[str, Any]:
        """Cancels the registration, or removes it and its comparisons; both studies stay."""
        await service.intake.run(priors.forget, study, prior)
        return {"current": study, "prior": prior, "state": "cancelled"}

    @routes.get("/{prior}/displacement.nii.gz", response_class=FileResponse)
    async def get_displacement(study: str, prior: str) -> FileResponse:
        """Where places of this study lie in the prior one: NIfTI, displacements in mm along R, A and S."""
        folder = Path(tempfile.mkdtemp(dir=service.settings.folder, prefix=MADE))
        try:
            path = await service.queries.run(comparisons.displacement, study, prior, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(path, media_type="application/gzip", background=BackgroundTask(shutil.rmtree, folder))

    @routes.post("/{prior}/comparisons")
    async def compare(study: str, prior: str, question: Compare) -> dict[str, Any]:
        """What became of findings. The report is that of ``tips-med compare``."""
        return await service.queries.run(comparisons.ask, study, prior, question.query)

    @routes.get("/{prior}/comparisons/{comparison}")
    async def get_comparison(study: str, prior: str, comparison: str) -> dict[str, Any]:
        """The report of a comparison again."""
        return await service.queries.run(comparisons.again, study, prior, comparison)

    @routes.get("/{prior}/comparisons/{comparison}/{number}/{file}", response_class=FileResponse)
    async def get_mask(study: str, prior: str, comparison: str, number: int, file: str) -> FileResponse:
        """A label map of a comparison: prior, current, prior_on_current (.nii.gz)."""
        path = await service.queries.run(comparisons.mask, study, prior, comparison, number, file)
        return FileResponse(path, media_type="application/gzip")

    return routes
