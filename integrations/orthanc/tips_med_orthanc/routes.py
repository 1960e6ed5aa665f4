"""The paths below ``/tips-med`` of Orthanc. Orthanc checks who asks, as for all of its paths."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orthanc

from tips_med_orthanc.archive import NoSuchSeriesError, ct_series, ct_series_of_study
from tips_med_orthanc.tasks import Tasks

NOTICE = "Research use only, not a medical device."
MAX_BODY_BYTES = 10_000
MAX_BRACKETS = 8
"""Orthanc's threads have small stacks: deeply nested JSON would end Orthanc itself."""


class Refused(Exception):  # noqa: N818 (a refusal is no fault)
    """A request that is not served."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def register(tasks: Tasks | None, why_not: str | None) -> None:
    """Adds the paths.

    Args:
        tasks: Work; None where the settings cannot be used.
        why_not: What is wrong with the settings.
    """

    def working() -> Tasks:
        if tasks is None:
            raise Refused(503, "not-configured", why_not or "")
        return tasks

    def about(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"server": working().settings.server, "queries": working().settings.queries, "notice": NOTICE}

    def ask(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        level, name = request["groups"]
        query = _query(request)
        work = working()
        try:
            found = [ct_series(name)] if level == "series" else ct_series_of_study(name)
        except NoSuchSeriesError:
            raise Refused(404, "not-found", "there is no CT series here") from None
        if not all(one.stable for one in found):
            raise Refused(409, "still-coming", "images are still coming; try again in a minute")
        task = work.add_question(tuple(one.id for one in found), query)
        if task is None:
            raise Refused(503, "busy", "too many questions wait already; try again in a while")
        return 202, {"task": task}

    def look(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        task = working().task(request["groups"][0])
        if task is None:
            raise Refused(404, "not-found", "there is no such question, or it was forgotten")
        return 200, task.entry() | {"notice": NOTICE}

    _add("/tips-med", "GET", about)
    _add("/tips-med/(studies|series)/([0-9a-f-]{44})/ask", "POST", ask)
    _add("/tips-med/tasks/([0-9a-f]{32})", "GET", look)


def _query(request: dict[str, Any]) -> str:
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    # A page of another origin cannot send this type without asking first, which Orthanc does not allow.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "bad-request", "the body is of another type; expected application/json")
    body = request.get("body", b"")
    small = len(body) <= MAX_BODY_BYTES and body.count(b"[") + body.count(b"{") <= MAX_BRACKETS
    try:
        content = json.loads(body) if small else None
    except ValueError:
        content = None
    query = content.get("query") if isinstance(content, dict) else None
    if not isinstance(query, str) or not 0 < len(query.strip()) <= 300:
        raise Refused(400, "bad-request", 'expected {"query": "1 to 300 characters"}')
    return query.strip()


def _add(path: str, method: str, serve: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]) -> None:
    def callback(output: Any, uri: str, **request: Any) -> None:
        if request["method"] != method:
            output.SendMethodNotAllowed(method)
            return
        try:
            status, entry = serve(request)
        except Refused as refused:
            status, entry = refused.status, {"code": refused.code, "message": str(refused)}
        except Exception as error:  # its text may quote an image
            orthanc.LogError(f"tips-med: a fault of the plugin: {type(error).__name__}")
            status, entry = 500, {"code": "internal", "message": "a fault of the plugin"}
        text = json.dumps(entry)
        output.SetHttpHeader("Cache-Control", "no-store")
        if status == 200:
            output.AnswerBuffer(text, "application/json")
        else:
            output.SetHttpHeader("Content-Type", "application/json")
            output.SendHttpStatus(status, text, len(text))

    orthanc.RegisterRestCallback(path, callback)
