"""What the server refuses, and servers that cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx


class ServerError(Exception):
    """A request that the server refused or that did not reach it, or a study that it could not encode.

    Args:
        code: Short stable name of the reason: ``wrong-token``, ``busy``, ``not-ready``, ``unreachable``.
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


@contextmanager
def reaching() -> Iterator[None]:
    """Tells of a connection that fails in the same way as of a refusal.

    Raises:
        ServerError: ``unreachable``.
    """
    try:
        yield
    except (httpx.TransportError, httpx.InvalidURL) as error:
        kind = "it did not answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
        raise ServerError(
            "unreachable",
            f"the server cannot be reached ({kind})",
            expected="the address that `tips-med serve` prints, such as http://127.0.0.1:8431",
            remedy="see whether it runs there",
        ) from error
