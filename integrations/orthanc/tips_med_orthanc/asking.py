"""Asks one series, and stores what is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tips_med_orthanc import archive
from tips_med_orthanc.archive import Series
from tips_med_orthanc.server import Server

Tell = Callable[[str, int, int], Any]


def ask_series(
    server: Server, series: Series, queries: Sequence[str], *, by_reference: bool, reports: bool, tell: Tell
) -> list[dict[str, Any]]:
    """Asks a series, and stores the segmentation of each answer that found something.

    Args:
        server: Server to ask.
        series: CT series of this Orthanc.
        queries: What to ask.
        by_reference: The server fetches the images by DICOMweb; else they are sent as a zip archive.
        reports: Store the structured report of each answer, too.
        tell: Called with state, parts done and parts in all.

    Returns:
        One entry an answer: ``query``, ``presence``, ``probability``, ``sentence``, ``reasons`` (in words),
        ``declined`` (why there is no answer, or None) and ``stored`` (Orthanc's identifiers of series).

    Raises:
        ServerError: The server refuses, or cannot be asked.
    """
    tell("sending", 0, 0)
    study = _send(server, series, by_reference)
    server.wait(study, tell)
    entries = []
    for query in queries:
        tell("asking", len(entries), len(queries))
        for answer in server.ask(study, query):
            entries.append(_entry(server, answer, reports))
    archive.write_mark(series, list(queries) if reports else [])
    return entries


def _send(server: Server, series: Series, by_reference: bool) -> str:
    if not by_reference:
        packed, size = archive.pack(series)
        with packed:
            return server.upload(packed, size)
    study = server.refer(series.study_uid, series.series_uid)
    if archive.has_grown(series):  # the server has it with fewer images
        server.forget(study)
        study = server.refer(series.study_uid, series.series_uid)
    return study


def _entry(server: Server, answer: dict[str, Any], reports: bool) -> dict[str, Any]:
    if isinstance(answer.get("declined"), dict):
        return {"query": answer.get("query"), "declined": answer["declined"].get("reason"), "stored": []}
    urls = answer.get("urls") or {}
    wanted = [urls.get("seg"), urls.get("sr") if reports else None]
    stored = [archive.store(server.dicom(url)) for url in wanted if isinstance(url, str)]
    return {
        "query": answer.get("query"),
        "presence": answer.get("presence"),
        "probability": answer.get("probability"),
        "sentence": answer.get("sentence"),
        "reasons": [one.get("meaning") for one in answer.get("reasons") or () if isinstance(one, dict)],
        "declined": None,
        "stored": stored,
    }
