"""What can be asked: health, capabilities, completion of what is typed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from tips_med.server.about import capabilities
from tips_med.server.service import Service
from tips_med.server.suggestions import suggest


def word_routes(service: Service) -> APIRouter:
    """The routes that are about no study."""
    routes = APIRouter(tags=["server"])

    @routes.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @routes.get("/v1/capabilities")
    async def get_capabilities() -> dict[str, Any]:
        """Model, findings, structures, limits."""
        return capabilities(service.model, service.settings)

    @routes.get("/v1/suggestions")
    async def get_suggestions(text: Annotated[str, Query(max_length=300)]) -> dict[str, Any]:
        """Completions of the last words, and what unknown words may have been meant to be."""
        return await service.queries.run(suggest, text, service.model)

    return routes
