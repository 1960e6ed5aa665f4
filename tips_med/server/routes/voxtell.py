"""The HTTP interface of VoxTell's server, so that its napari plugin can ask this one."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from tips_med.exporters.nifti import write_volume
from tips_med.scan import Scan
from tips_med.server.record import ENDED
from tips_med.server.refusals import RequestError
from tips_med.server.service import MADE, Service
from tips_med.server.voxtell import (
    MAX_PROMPTS,
    Job,
    Jobs,
    from_ras,
    pack_array,
    ras_spacing_mm,
    run_job,
    to_ras,
    unpack_array,
)

EVERY_S = 0.1
_OCTETS = "application/octet-stream"


class NewJob(BaseModel):
    """A job as that client starts it."""

    image_id: str
    prompts: list[str] = Field(min_length=1, max_length=MAX_PROMPTS)
    keep_largest: bool = False


def voxtell_routes(service: Service) -> APIRouter:
    """The routes below ``/voxtell``; the address to type into the plugin ends in it."""
    routes = APIRouter(prefix="/voxtell", tags=["VoxTell"])
    jobs = Jobs()
    running: set[asyncio.Task[None]] = set()

    @routes.get("/healthz")
    async def health() -> dict[str, bool]:
        """Whether the server answers."""
        return {"ok": True}

    @routes.get("/capabilities")
    async def get_capabilities() -> dict[str, Any]:
        """Name of the model, and what can be prompted."""
        return {
            "model": service.model.identity,
            "prompts": list(service.model.names),
        }

    @routes.post("/images", openapi_extra={"requestBody": {"content": {_OCTETS: {}}}})
    async def add_image(request: Request, include_image: bool = True) -> Response:
        """Takes a NIfTI file in and encodes it; answers when it is ready, with the image turned to RAS."""
        with tempfile.TemporaryFile(dir=str(service.settings.folder)) as file:
            async for block in request.stream():
                await asyncio.to_thread(file.write, block)
            file.seek(0)
            record = await service.intake.run(service.studies.add_upload, file, {})
        while record.state not in ENDED:
            await asyncio.sleep(EVERY_S)
        if record.state != "ready":
            told = record.error or {"code": "cancelled", "message": "the study was forgotten"}
            raise RequestError(422, told["code"], told["message"], remedy=told.get("remedy"))

        def turned() -> tuple[Scan, bytes, tuple[int, ...]]:
            scan = service.studies.live(record.id).study.scan
            image = to_ras(scan.voxels, scan)
            return scan, pack_array(image) if include_image else b"", image.shape

        scan, content, shape = await service.queries.run(turned)
        about = {"image_id": record.id, "spacing": ras_spacing_mm(scan), "shape": shape}
        return Response(content, media_type=_OCTETS, headers={"X-Meta": json.dumps(about)})

    @routes.post("/jobs")
    async def start_job(asked: NewJob) -> dict[str, str]:
        """Starts to answer prompts, one mask each."""
        service.studies.live(asked.image_id)
        job = Job(asked.image_id, tuple(asked.prompts), asked.keep_largest)
        name = jobs.add(job)

        async def work() -> None:
            try:
                await service.queries.run(run_job, job, service.answers)
            except RequestError as error:
                job.cancelled.set()
                job.status, job.message = "error", str(error)

        task = asyncio.create_task(work())
        running.add(task)
        task.add_done_callback(running.discard)
        return {"job_id": name}

    @routes.get("/jobs/{job}/events", response_class=StreamingResponse)
    async def follow_job(job: str) -> StreamingResponse:
        """One JSON object a line, until the job has ended."""
        return StreamingResponse(_events(jobs.get(job)), media_type="application/x-ndjson")

    @routes.get("/jobs/{job}/result")
    async def get_result(job: str) -> Response:
        """The masks, uint8 [prompt z y x] in RAS order."""
        masks = jobs.get(job).masks
        if masks is None:
            raise RequestError(409, "not-ready", "the job has no result")
        return Response(await service.queries.run(pack_array, masks), media_type=_OCTETS)

    @routes.post("/jobs/{job}/cancel")
    async def cancel_job(job: str) -> dict[str, bool]:
        """Ends the job before its next prompt."""
        jobs.get(job).cancelled.set()
        return {"ok": True}

    @routes.post("/images/{image}/export", openapi_extra={"requestBody": {"content": {_OCTETS: {}}}})
    async def export(image: str, request: Request) -> Response:
        """A label map in RAS order as a NIfTI file on the grid of the file that was uploaded."""
        content = await request.body()

        def turned_back() -> bytes:
            scan = service.studies.live(image).study.scan
            labels = from_ras(unpack_array(content, 8 * scan.voxels.size), scan)
            with tempfile.TemporaryDirectory(dir=service.settings.folder, prefix=MADE) as made:
                path = Path(made) / "labels.nii.gz"
                write_volume(labels.astype(np.uint16), scan.lps_from_kji, path, intent="label")
                return path.read_bytes()

        return Response(await service.queries.run(turned_back), media_type="application/gzip")

    return routes


async def _events(job: Job) -> AsyncIterator[str]:
    told = ""
    while True:
        line = json.dumps(job.event())
        if line != told:
            told = line
            yield line + "\n"
        if "status" in line:
            return
        await asyncio.sleep(EVERY_S)
