"""Health comes from the work: a node that hangs is not healthy, however well its other threads do."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.serving.node.pieces import RULES, MemoryArchive, answer_simply, study, until
from tests.serving.node.test_node import SETTINGS, push
from tips_med.serving.node import Heartbeat, Node, NodeSettings


def health(node: Node) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.status.port}/healthz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_beats_until_nothing_is_done_for_too_long() -> None:
    now = [0.0]
    heartbeat = Heartbeat(10.0, lambda: now[0])
    assert not heartbeat.healthy and heartbeat.since_s is None
    heartbeat.beat(3, 10)
    now[0] = 9.0
    assert heartbeat.healthy
    now[0] = 11.0
    assert not heartbeat.healthy and heartbeat.since_s == 11.0
    heartbeat.beat()
    assert heartbeat.healthy
    heartbeat.end()
    assert not heartbeat.healthy


def test_a_node_that_hangs_says_so_and_one_that_is_slow_and_gets_on_does_not(tmp_path: Path) -> None:
    release, hung, heartbeat = threading.Event(), threading.Event(), Heartbeat(1.0)

    def answer(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
        for _ in range(15):
            heartbeat.beat()
            release.wait(0.1)
        hung.set()
        release.wait(60)
        answer_simply(images, series_uid, queries, out)

    settings = NodeSettings(callers=["SENDER"], **SETTINGS)  # type: ignore[arg-type]
    node = Node(tmp_path / "node", MemoryArchive(), RULES, answer, settings, heartbeat=heartbeat)
    assert health(node) == (503, "ended\n")
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        until(lambda: health(node) == (200, "ok\n"))
        assert node.receiver is not None
        push(node.receiver.port, study(1))
        seen = []
        while not hung.is_set():
            seen.append(health(node)[0])
        assert set(seen) == {200}
        until(lambda: health(node) == (503, "hangs\n"), 20)
        release.set()
        until(lambda: health(node) == (200, "ok\n"))
    finally:
        release.set()
        node.stop()
        thread.join(60)
