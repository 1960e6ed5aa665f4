"""The other way round: what is at a place?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from tips_med.exporters.identification import identification_entry
from tips_med.grounding import what
from tips_med.server.corrections import max_mask_bytes, read_sent_mask
from tips_med.server.refusals import RequestError
from tips_med.server.service import Service


class Place(BaseModel):
    """A place: a point, or a region.

    Attributes:
        at_lps: Point, LPS in mm.
        mask: Region: base64 of a gzipped NIfTI file on the scan's grid.
    """

    model_config = ConfigDict(extra="forbid")
    at_lps: tuple[float, float, float] | None = None
    mask: str | None = None


def what_routes(service: Service) -> APIRouter:
    """The route below ``/v1/studies/ID`` that goes from a place to words."""
    routes = APIRouter(prefix="/v1/studies/{study}", tags=["answers"])

    def identify(study: str, place: Place) -> dict[str, Any]:
        view = service.studies.live(study).view()
        if place.mask is None:
            assert place.at_lps is not None
            return identification_entry(what(view, place.at_lps, service.model))
        mask = read_sent_mask(place.mask, view.scan, max_mask_bytes(view.scan), service.settings.folder)
        return identification_entry(what(view, mask, service.model))

    @routes.post("/what")
    async def ask_what(study: str, place: Place) -> dict[str, Any]:
        """The findings and structures that fit best at a place, as ``tips-med what --json`` gives them."""
        if (place.at_lps is None) == (place.mask is None):
            raise RequestError(400, "bad-request", "there is not one place", expected="at_lps or mask")
        return await service.queries.run(identify, study, place)

    return routes
