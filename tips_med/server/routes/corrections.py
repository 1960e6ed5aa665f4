"""Corrected masks."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from tips_med.server.corrections import add_correction
from tips_med.server.service import Service


class Correction(BaseModel):
    """A mask as it should be.

    Attributes:
        query: The query that it answers, in words.
        mask: Base64 of a gzipped NIfTI file on the scan's grid; an empty mask says that it is absent.
    """

    model_config = ConfigDict(extra="forbid")
    query: str = Field(min_length=1, max_length=300)
    mask: str = Field(min_length=1)


def correction_routes(service: Service) -> APIRouter:
    """The route that stores corrections, where the operator named a folder for them."""
    routes = APIRouter(prefix="/v1/studies/{study}", tags=["corrections"])

    @routes.post("/corrections")
    async def correct(study: str, correction: Correction) -> dict[str, Any]:
        """Stores a mask and its row of a manifest, from which `tips-med train` learns."""
        return await service.queries.run(add_correction, service.studies, study, correction.query, correction.mask)

    return routes
