"""The other way round: what is at a place; and masks that users corrected."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from tips_med.exporters.identification import identification_entry
from tips_med.grounding import what
from tips_med.server.corrections import Corrections
from tips_med.server.refusals import RequestError
from tips_med.server.sent_mask import sent_mask
from tips_med.server.service import Service


class Place(BaseModel):
    """A place: one of a point and a region.

    Attributes:
        at_lps: Point, LPS in mm.
        mask: Region: base64 of a NIfTI file, gzipped or not, on the scan's grid.
    """

    model_config = ConfigDict(extra="forbid")
    at_lps: tuple[float, float, float] | None = None
    mask: str | None = None


class Corrected(BaseModel):
    """A corrected mask.

    Attributes:
        query: The answered query.
        mask: Base64 of a NIfTI file, gzipped or not, on the scan's grid; an empty mask says that it is absent.
    """

    model_config = ConfigDict(extra="forbid")
    query: str = Field(min_length=1, max_length=300)
    mask: str


def teaching_routes(service: Service) -> APIRouter:
    """The routes below ``/v1/studies/ID`` that go from a place to words, and from users to the model."""
    routes = APIRouter(prefix="/v1/studies/{study}", tags=["answers"])
    folder = service.settings.corrections
    corrections = None if folder is None else Corrections(folder, service.model)

    def identify(study: str, place: Place) -> dict[str, Any]:
        view = service.studies.live(study).view()
        given = place.at_lps if place.mask is None else sent_mask(place.mask, view.scan)
        assert given is not None
        return identification_entry(what(view, given, service.model))

    def keep(study: str, corrected: Corrected) -> dict[str, Any]:
        assert corrections is not None
        scan = service.studies.live(study).study.scan
        mask = sent_mask(corrected.mask, scan)
        row = corrections.keep(study, scan, corrected.query, mask)
        return {"row": row, "label": "present" if mask.any() else "absent", "voxels": int(mask.sum())}

    @routes.post("/what")
    async def ask_what(study: str, place: Place) -> dict[str, Any]:
        """The findings and structures that fit best at a place, as ``tips-med what --json`` gives them."""
        if (place.at_lps is None) == (place.mask is None):
            raise RequestError(400, "bad-request", "there is not one place", expected="at_lps or mask")
        return await service.queries.run(identify, study, place)

    @routes.post("/corrections")
    async def add_correction(study: str, corrected: Corrected) -> dict[str, Any]:
        """Keeps a corrected mask as a row of the manifest in the folder that the operator named."""
        if corrections is None:
            raise RequestError(
                403,
                "not-allowed",
                "this server keeps no corrections",
                remedy="ask the operator to name a folder with --corrections",
            )
        return await service.queries.run(keep, study, corrected)

    return routes
