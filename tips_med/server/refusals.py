"""Refusals of the server: errors that the client can fix, each with its HTTP status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tips_med.errors import TipsMedError


class RequestError(TipsMedError):
    """A request that is not served.

    Args:
        status: HTTP status, 400 to 599.
        code: See ``TipsMedError``.
        found: See ``TipsMedError``.
        expected: See ``TipsMedError``.
        remedy: See ``TipsMedError``.
    """

    def __init__(
        self, status: int, code: str, found: str, *, expected: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(found, expected=expected, remedy=remedy, code=code)
        self.status = status


def unknown(what: str) -> RequestError:
    """There is no such thing here."""
    return RequestError(
        404, "not-found", f"there is no such {what}", remedy="it may have been forgotten; send it again"
    )


def busy(what: str) -> RequestError:
    """Too much waits already."""
    return RequestError(503, "busy", f"too many {what} wait already", remedy="try again in a while")


def status_of(error: TipsMedError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, RequestError):
        return error.status
    return {"no-room": 507, "output": 507, "not-writable": 507, "too-large": 413}.get(error.code, 422)


def error_entry(error: TipsMedError) -> dict[str, Any]:
    """An error as JSON, without any path of this machine."""
    return {"code": error.code, "message": error.found, "expected": error.expected, "remedy": error.remedy}


def internal_error() -> dict[str, Any]:
    """What a client is told of a fault of ours."""
    return {"code": "internal", "message": "a fault of the server", "expected": None, "remedy": "report it"}


def fault_of(error: BaseException) -> str:
    """A fault for the log: its kind and place, never its text, which may quote a file."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "?" if where is None else f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
    return f"{type(error).__name__} at {place}"
