"""The page: its files, its policy, and what it knows first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from tips_med.server.service import Service

STATIC = Path(__file__).resolve().parent / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # niivue's letters
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy of the page: nothing comes from, or goes to, another host."""


class PageFiles(StaticFiles):
    """The page's files, with its own policy."""

    async def get_response(self, path: str, scope: Any) -> Response:
        """One file."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        return response


class Ticket(BaseModel):
    """What the link of ``tips-med view`` holds.

    Attributes:
        ticket: Secret that is good for one token.
    """

    model_config = ConfigDict(extra="forbid")
    ticket: str = Field(min_length=1, max_length=200)


def page_routes(service: Service) -> APIRouter:
    """The routes that only the page uses."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/page/token")
    async def redeem(content: Ticket) -> dict[str, str | None]:
        return {"token": service.page.redeem(content.ticket)}

    @routes.get("/v1/page/start")
    async def start() -> dict[str, Any]:
        lexicon, card = service.model.lexicon, service.model.card
        terms = [lexicon.term(term) for term in (*card.findings, *card.structures)]
        windows = {term.id: term.window if term.window in ("lung", "bone") else "soft" for term in terms}
        return {"local": service.page.local, "prior": service.page.prior, "windows": windows}

    return routes
