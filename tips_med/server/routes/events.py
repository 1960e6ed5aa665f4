"""Server-sent events: something at work, whenever it changes, until it has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from tips_med.server.priors import PriorRecord
from tips_med.server.record import ENDED, StudyRecord

EVERY_S = 0.2
"""Seconds between two looks at what is followed."""

ALIVE_S = 10.0
"""Seconds after which a line is sent even if nothing happened, so that a client which has gone is noticed."""


def event_stream(name: str, record: StudyRecord | PriorRecord) -> StreamingResponse:
    """Follows a record until it is ready, failed or cancelled; ``name`` is that of the events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(name, record), media_type="text/event-stream", headers=headers)


async def _events(name: str, record: StudyRecord | PriorRecord) -> AsyncIterator[str]:
    told, silent = "", 0.0
    while True:
        ended = record.state in ENDED
        entry = json.dumps(record.entry())
        if entry != told:
            told, silent = entry, 0.0
            yield f"event: {name}\ndata: {entry}\n\n"
        elif silent >= ALIVE_S:
            silent = 0.0
            yield ": alive\n\n"
        if ended:
            return
        await asyncio.sleep(EVERY_S)
        silent += EVERY_S
