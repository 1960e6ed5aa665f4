"""What the server refuses."""

from __future__ import annotations

import httpx


class ServerError(Exception):
    """A request that the server refused, or a study that it could not encode.

    Args:
        code: Short stable name of the reason: ``wrong-token``, ``busy``, ``not-ready``.
        message: What was found.
        expected: What was expected.
        remedy: What to do about it.
        status: HTTP status; 0 where there is none.
    """

    def __init__(
        self, code: str, message: str, expected: str | None = None, remedy: str | None = None, status: int = 0
    ) -> None:
        self.code, self.message, self.expected, self.remedy, self.status = code, message, expected, remedy, status
        text = message + (f"; expected {expected}" if expected else "")
        super().__init__(text + (f". {remedy[0].upper()}{remedy[1:]}" if remedy else ""))


def check(response: httpx.Response) -> httpx.Response:
    """The response, if the server did what was asked; its body must have been read.

    Raises:
        ServerError: It refused.
    """
    if response.is_success:
        return response
    try:
        told = response.json()
        raise ServerError(
            str(told["code"]), str(told["message"]), told.get("expected"), told.get("remedy"), response.status_code
        )
    except (ValueError, KeyError, TypeError):
        raise ServerError("http", f"the server answered {response.status_code}", status=response.status_code) from None
