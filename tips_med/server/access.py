"""Who may ask: Host, Origin, token, and the size and pace of what is sent; checked before anything else is done."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from tips_med.errors import TipsMedError
from tips_med.server.refusals import RequestError, error_entry, fault_of, internal_error, status_of
from tips_med.server.settings import ServerSettings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

GUARDED = ("/v1", "/voxtell")
"""Paths below these need the token; the others tell nothing of any study."""

UPLOADS = ("/v1/studies", "/voxtell/images")

LINGER_S, LINGER_IDLE_S = 30.0, 5.0
"""Seconds, in all and without a byte, for which the rest of a refused request is read and thrown away.

A connection that is closed while the client still sends is reset, and the client may lose the refusal: a wrong token
would look like a server that is down. nginx lingers as long by default (``lingering_time``, ``lingering_timeout``).
"""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not set them itself."""


class Access:
    """ASGI middleware that lets through what is allowed.

    Args:
        app: The application behind it.
        settings: Callers and limits.
    """

    def __init__(self, app: Any, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        self._hosts = {host.lower() for host in settings.hosts}
        self._token = None if settings.token is None else settings.token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = refused = False
        body = _Body(receive, announced=_has_body(Headers(scope=scope)))

        async def answer(message: dict[str, Any]) -> None:
            nonlocal began, refused
            if message["type"] == "http.response.start":
                began, refused = True, message["status"] >= 400
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if refused and not body.whole:
                    headers["Connection"] = "close"
            elif refused and not message.get("more_body", False) and not body.whole:
                await send(message | {"more_body": True})
                await body.discard()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, self._bounded(scope, body), answer)
        except TipsMedError as error:
            if not began:
                await _refuse(status_of(error), error_entry(error), answer)
        except Exception as error:  # no traceback in any log: it may quote a file
            log.error("a request: %s", fault_of(error))
            if not began:
                await _refuse(500, internal_error(), answer)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name_of(host) not in self._hosts:  # a name that resolves to this machine is not yet one of ours
            raise RequestError(421, "wrong-host", "the server does not go by this name", remedy="use its own address")
        origin = headers.get("origin")
        if origin is not None and origin not in self.settings.origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
                raise RequestError(403, "foreign-origin", "pages of other origins may not use the server")
        path = scope["path"]
        preflight = scope["method"] == "OPTIONS" and origin in self.settings.origins
        if self._token is not None and not preflight and _below(path, GUARDED):
            kind, _, given = headers.get("authorization", "").partition(" ")
            told = given.strip().encode("utf-8", "replace")
            if not hmac.compare_digest(told, self._token) or kind.lower() != "bearer":
                raise RequestError(
                    401, "wrong-token", "the token is missing or wrong", expected="Authorization: Bearer TOKEN"
                )
        if int_or_zero(headers.get("content-length")) > self._limit(scope):
            raise self._too_large(scope)

    def _limit(self, scope: Scope) -> int:
        upload = scope["method"] == "POST" and scope["path"].rstrip("/") in UPLOADS
        return (self.settings.max_upload_mb if upload else self.settings.max_body_mb) << 20

    def _too_large(self, scope: Scope) -> RequestError:
        return RequestError(
            413, "too-large", "more was sent than is taken", expected=f"at most {self._limit(scope) >> 20} MB"
        )

    def _bounded(self, scope: Scope, body: _Body) -> Receive:
        """What the client sends, until it is too much, too slow, or silent for too long."""
        limit, got, began = self._limit(scope), 0, time.monotonic()

        async def bounded() -> dict[str, Any]:
            nonlocal got
            if body.whole:
                return await body.receive()  # from now on only that the client has gone
            left = min(self.settings.idle_s, began + self.settings.upload_s - time.monotonic())
            try:
                message = await asyncio.wait_for(body.receive(), max(left, 0.001))
            except TimeoutError:
                raise RequestError(408, "too-slow", "the client sends too slowly", remedy="send it again") from None
            got += len(message.get("body", b""))
            if got > limit:
                raise self._too_large(scope)
            return message

        return bounded


class _Body:
    """What a client sends with a request.

    Args:
        receive: The server's.
        announced: Whether the request's headers announce any.

    Attributes:
        whole: Whether all of it was received, or the client has gone.
    """

    def __init__(self, receive: Receive, announced: bool) -> None:
        self._receive, self.whole = receive, not announced

    async def receive(self) -> dict[str, Any]:
        """The next part."""
        message = await self._receive()
        self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Receives the rest and keeps nothing of it, for a while at most."""
        until = time.monotonic() + LINGER_S
        with contextlib.suppress(TimeoutError):
            while not self.whole and (left := until - time.monotonic()) > 0:
                await asyncio.wait_for(self.receive(), min(left, LINGER_IDLE_S))


async def _refuse(status: int, entry: dict[str, Any], send: Send) -> None:
    body = json.dumps(entry).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _has_body(headers: Headers) -> bool:
    return int_or_zero(headers.get("content-length")) > 0 or "transfer-encoding" in headers


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def int_or_zero(text: str | None) -> int:
    """A number in a header; 0 for what is none."""
    return int(text) if text is not None and text.isdecimal() else 0
