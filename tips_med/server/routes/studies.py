"""Studies: upload, list, events, voxels, cancel."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

from tips_med.server.record import StudyRecord
from tips_med.server.refusals import RequestError
from tips_med.server.routes.events import event_stream
from tips_med.server.scan_file import scan_file
from tips_med.server.service import Service
from tips_med.server.sources import dicomweb_options, reading_options

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "NIfTI, or a zip of DICOM"},
                        "series": {"type": "string", "description": "Series Instance UID, where there are several"},
                        "phase": {"type": "integer", "minimum": 1},
                        "fill_gaps": {"type": "boolean"},
                        "untilt": {"type": "boolean"},
                        "modality": {"type": "string", "enum": ["CT", "MR"]},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "dicomweb": {
                            "type": "object",
                            "required": ["url", "study", "series"],
                            "properties": {name: {"type": "string"} for name in ("url", "study", "series")},
                        },
                        "local": {"type": "string"},
                    },
                }
            },
        },
    }
}


def study_routes(service: Service) -> APIRouter:
    """The routes below ``/v1/studies``."""
    routes = APIRouter(prefix="/v1/studies", tags=["studies"])

    @routes.post("", status_code=202, openapi_extra=_BODY)
    async def add_study(request: Request) -> JSONResponse:
        """Takes a scan in, to be read and encoded: an upload, or a series of an archive that the operator allowed."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            record = await _add_reference(service, await _json(request))
        elif kind == "multipart/form-data":
            async with request.form(max_files=1, max_fields=8) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise RequestError(400, "bad-request", "the form has no file", expected="a part named file")
                options = reading_options({name: form.get(name) for name in form if name != "file"})
                record = await service.intake.run(service.studies.add_upload, file.file, options)
        else:
            raise RequestError(
                415, "bad-request", "the body is of another type", expected="multipart/form-data or JSON"
            )
        return JSONResponse(record.entry(), 202)

    @routes.get("")
    async def list_studies() -> dict[str, Any]:
        """All studies, the last used first."""
        return {"studies": service.studies.entries()}

    @routes.get("/{study}")
    async def get_study(study: str) -> dict[str, Any]:
        """State of a study."""
        return service.studies.record(study).entry()

    @routes.get("/{study}/events", response_class=StreamingResponse)
    async def follow_study(study: str) -> StreamingResponse:
        """Server-sent events: the study whenever it changes, until it is ready, failed or cancelled."""
        return event_stream("study", service.studies.record(study))

    @routes.delete("/{study}")
    async def forget_study(study: str) -> dict[str, Any]:
        """Cancels the study, or removes all that is kept of it."""
        await service.intake.run(service.studies.forget, study)
        return {"id": study, "state": "cancelled"}

    @routes.get("/{study}/scan.nii.gz", response_class=FileResponse)
    async def get_scan(study: str) -> FileResponse:
        """The voxels, for a viewer: int16 on the scan's own grid; what was not measured has the lowest value."""
        path = await service.queries.run(scan_file, service.studies, study)
        return FileResponse(path, media_type="application/gzip")

    return routes


async def _add_reference(service: Service, raw: dict[str, Any]) -> StudyRecord:
    given = raw.get("dicomweb")
    if isinstance(given, dict):
        options = dicomweb_options(given, service.settings) | reading_options(
            {k: v for k, v in raw.items() if k in ("fill_gaps", "untilt")}
        )
        return await service.intake.run(service.studies.add_reference, "dicomweb", options)
    if isinstance(raw.get("local"), str):
        return await service.intake.run(service.add_local, raw["local"])
    raise RequestError(400, "bad-request", "nothing is named", expected='{"dicomweb": {"url", "study", "series"}}')


async def _json(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.body())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RequestError(400, "bad-request", "the body is no JSON object")
    return content
