"""Runs a node with the simple answerer, to be killed: python -m tests.serving.node.serve FOLDER ARCHIVE PORT."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.serving.node.pieces import RULES, answer_simply
from tips_med.serving.connect import open_archive
from tips_med.serving.node import Node, NodeSettings


def slowly(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
    time.sleep(0.05)
    answer_simply(images, series_uid, queries, out)


if __name__ == "__main__":
    folder, archive, port = sys.argv[1:]
    settings = NodeSettings(
        callers=["SENDER"], port=int(port), status_port=0, quiet_s=1.0, min_free_mb=1, pause_s=0.2, attempts=5
    )
    Node(Path(folder), open_archive(archive, calling="TIPS_NODE", timeout_s=10), RULES, slowly, settings).run()
