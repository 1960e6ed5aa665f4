"""What a node does on a disk of 1 MiB; run by ``test_full_disk`` in a mount namespace of its own."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pynetdicom import AE

from tests.serving.node.pieces import RULES, MemoryArchive, answer_simply, study, until
from tips_med.serving.dimse import IMAGE_CLASSES, SYNTAXES
from tips_med.serving.node import Node, NodeSettings
from tips_med.serving.node.worker import Answerer


def intake(disk: Path) -> dict[str, Any]:
    """Images come while the disk is full, and again when there is room."""
    with _Running(disk, answer_simply) as node:
        _fill(disk)
        before = _push(node, 1)
        left = [str(path) for path in (disk / "node" / "incoming").rglob("*") if path.is_file()]
        (disk / "filler").unlink()
        after = _push(node, 1)
        until(lambda: node.ledger.counts()["done"])
        return {"before": before, "left": left, "after": after, "answered": len(node.archive.stored)}


def results(disk: Path) -> dict[str, Any]:
    """The disk fills up while results are written."""
    tries: list[int] = []
    failed = threading.Event()

    def answer(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        tries.append(1)
        if len(tries) == 1:
            _fill(disk)
            try:
                answer_simply(images, series_uid, queries, out)
            finally:
                failed.set()
        answer_simply(images, series_uid, queries, out)

    with _Running(disk, answer) as node:
        _push(node, 1)
        assert failed.wait(60)
        sent = len(node.archive.stored)
        left = [str(path) for path in (disk / "node" / "results").rglob("*.dcm") if path.stat().st_size > 0]
        (disk / "filler").unlink()
        until(lambda: node.ledger.counts()["done"])
        lines = (disk / "node" / "audit.jsonl").read_text().splitlines()
        whole = all(isinstance(json.loads(line), dict) for line in lines)
        return {"sent_while_full": sent, "left": left, "answered": len(node.archive.stored), "whole_lines": whole}


class _Running:
    def __init__(self, disk: Path, answerer: Answerer) -> None:
        settings = NodeSettings(
            ["SENDER"], port=0, status_port=0, quiet_s=3.0, min_free_mb=0, pause_s=1.0, attempts=1000
        )
        self._archive = MemoryArchive()
        self._node: Any = Node(disk / "node", self._archive, RULES, answerer, settings)
        self._node.archive = self._archive
        self._started = disk / "node" / "audit.jsonl"
        self._thread = threading.Thread(target=self._node.run)

    def __enter__(self) -> Any:
        self._thread.start()
        until(lambda: self._started.is_file() and self._started.read_text().endswith("\n"))
        return self._node

    def __exit__(self, *_: object) -> None:
        self._node.stop()
        self._thread.join(60)


def _fill(disk: Path) -> None:
    """Writes until nothing more fits."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def _push(node: Any, number: int) -> list[int]:
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(IMAGE_CLASSES[0], SYNTAXES[0])
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title="TIPS_NODE")
    statuses = [association.send_c_store(image).get("Status", -1) for image in study(number)]
    association.release()
    return statuses
