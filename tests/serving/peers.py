"""Archives that do one thing of a kind, good or bad, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt

from tests.serving.loopback import free_port
from tips_med.serving.archive import MoveDestination
from tips_med.serving.classes import IMAGE_CLASSES, SYNTAXES
from tips_med.serving.dimse import DimseArchive, Peer

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))


def _find(images: Sequence[Dataset]) -> Callable[[Any], Iterator[tuple[int, Dataset | None]]]:
    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked, seen = event.identifier, set()
        keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(
            asked.QueryRetrieveLevel, "SOPInstanceUID"
        )
        for image in images:
            value = image[keyword].value
            if value not in seen and asked.get("StudyInstanceUID") in ("", image.StudyInstanceUID):
                seen.add(value)
                item = Dataset()
                item.QueryRetrieveLevel = asked.QueryRetrieveLevel
                for key in asked:
                    if key.keyword != "QueryRetrieveLevel":
                        setattr(item, key.keyword, image.get(key.keyword, ""))
                yield 0xFF00, item

    return find


@contextmanager
def peer(
    images: Sequence[Dataset],
    *,
    services: Sequence[str] = (FIND, MOVE, GET),
    destination: tuple[str, int] | None = None,
    sends: Callable[[Dataset], Any] = lambda image: image,
    title: str = "PEER",
    syntaxes: Sequence[str] = SYNTAXES,
    aborts: bool = False,
    says_nothing_s: float = 0.0,
) -> Iterator[Peer]:
    """An archive of some images.

    Args:
        images: What it has.
        services: SOP classes of the query and retrieve services that it accepts.
        destination: Where C-MOVE goes; unknown when None.
        sends: What becomes of an image before it is sent.
        title: AE title that it sends under.
        syntaxes: Transfer syntaxes that it takes.
        aborts: Breaks off in the middle of what is retrieved.
        says_nothing_s: How long it waits before it sends anything.
    """
    ae = AE(ae_title=title)
    for service in services:
        ae.add_supported_context(service)
    for sop_class in IMAGE_CLASSES:
        ae.add_supported_context(sop_class, list(syntaxes), scu_role=True, scp_role=True)

    def give(event: Any) -> Iterator[Any]:
        time.sleep(says_nothing_s)
        yield len(images)
        for n, image in enumerate(images):
            if aborts and n == 1:
                event.assoc.abort()
                return
            yield 0xFF00, sends(image)

    def move(event: Any) -> Iterator[Any]:
        if destination is None:
            yield None, None
        else:
            contexts = [build_context(sop_class, list(syntaxes)) for sop_class in IMAGE_CLASSES]
            yield (*destination, {"contexts": contexts})
            yield from give(event)

    handlers = [(evt.EVT_C_FIND, _find(images)), (evt.EVT_C_GET, give), (evt.EVT_C_MOVE, move)]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer("PEER", "127.0.0.1", int(server.server_address[1]))
    finally:
        server.shutdown()


def by_get(to: Peer, **options: Any) -> DimseArchive:
    """Spoken to by C-GET."""
    return DimseArchive(to, **({"timeout_s": 10.0} | options))


def by_move(to: Peer, receive: MoveDestination, **options: Any) -> DimseArchive:
    """Spoken to by C-MOVE."""
    return DimseArchive(to, receive=receive, **({"timeout_s": 10.0} | options))


__all__ = ["FIND", "GET", "MOVE", "by_get", "by_move", "free_port", "peer"]
