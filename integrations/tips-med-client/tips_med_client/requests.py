"""What both clients send, and how they read what comes back."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from tips_med_client.answer import Answer
from tips_med_client.errors import ServerError
from tips_med_client.volume import Volume, write_nifti


def options(token: str | None, timeout_s: float) -> dict[str, Any]:
    """Options of httpx: a short time to connect, a long one for uploads and answers; no proxy, no redirect."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {"headers": headers, "timeout": httpx.Timeout(timeout_s, connect=10.0), "trust_env": False}


def form(reading: dict[str, Any]) -> dict[str, str]:
    """Fields of an upload beside the file."""
    return {name: str(value) for name, value in reading.items() if value not in (None, False)}


def answers_of(report: dict[str, Any]) -> list[Answer]:
    """The answers of a report."""
    return [Answer(one) for one in report["answers"]]


def study_of_line(line: str) -> dict[str, Any] | None:
    """The study in a line of server-sent events; None in a line that holds none."""
    return json.loads(line[5:]) if line.startswith("data:") else None


def ended(study: dict[str, Any]) -> bool:
    """Whether a study has been encoded.

    Raises:
        ServerError: It failed or was cancelled.
    """
    if study["state"] == "failed":
        error = study["error"]
        raise ServerError(error["code"], error["message"], error.get("expected"), error.get("remedy"))
    if study["state"] == "cancelled":
        raise ServerError("cancelled", "the study was cancelled")
    return study["state"] == "ready"


def correction(query: str, mask: Volume) -> dict[str, str]:
    """The body of a correction."""
    return {"query": query, "mask": base64.b64encode(write_nifti(mask)).decode("ascii")}


def lost() -> ServerError:
    """The events ended before the study was ready."""
    return ServerError("lost", "the connection was lost", remedy="ask for the study again")
