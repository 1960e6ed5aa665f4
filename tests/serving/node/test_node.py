"""The node as its peers see it: who may call, what is refused, and that a kill loses and doubles nothing."""

from __future__ import annotations

import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.serving.node.load import answers_under_load
from tests.serving.node.pieces import MARKER, RULES, MemoryArchive, answer_simply, study
from tips_med.errors import ConfigError
from tips_med.serving.dimse import IMAGE_CLASSES, SYNTAXES
from tips_med.serving.node import Node, NodeSettings

SETTINGS = {"port": 0, "status_port": 0, "quiet_s": 0.3, "min_free_mb": 1, "pause_s": 0.1}


class Running:
    """A node in a thread."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.archive = MemoryArchive()
        chosen = NodeSettings(callers=["SENDER"], **{**SETTINGS, **settings})
        self.node = Node(folder, self.archive, RULES, answer_simply, chosen)
        self.thread = threading.Thread(target=self.node.run)
        self.thread.start()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.node.status.port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def wait(self, condition: Any, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    def stop(self) -> None:
        self.node.stop()
        self.thread.join(60)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "node", max_instance_mb=1)
    yield made
    made.stop()


def associate(port: int, calling: str = "SENDER", called: str = "TIPS_NODE") -> Any:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    for sop_class in IMAGE_CLASSES:
        ae.add_requested_context(sop_class, SYNTAXES[0])
    return ae.associate("127.0.0.1", port, ae_title=called)


def push(port: int, images: list[Dataset]) -> list[int]:
    association = associate(port)
    assert association.is_established
    status = [association.send_c_store(image).get("Status", -1) for image in images]
    association.release()
    return status


def everything_written(folder: Path) -> bytes:
    """All names and contents but the images themselves and what is made of them."""
    kept = [path for path in folder.rglob("*") if not {"incoming", "results"} & set(path.parts)]
    names = "\n".join(str(path) for path in folder.rglob("*")).encode()
    return names + b"".join(path.read_bytes() for path in kept if path.is_file())


def test_a_study_comes_in_and_its_answer_goes_out_without_a_trace_of_the_patient(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert push(running.node.receiver.port, study(1)) == [0, 0, 0]
    running.wait(lambda: running.archive.stored)
    running.wait(lambda: 'tips_med_studies{state="done"} 1.0' in running.get("/metrics"))
    assert running.get("/healthz") == "ok\n"
    assert push(running.node.receiver.port, study(1)) == [0, 0, 0], "sent again, it is taken and forgotten"
    time.sleep(1)
    assert len(running.archive.stored) == 1
    written = everything_written(tmp_path) + caplog.text.encode() + running.get("/metrics").encode()
    for planted in (MARKER, "Planted", "PLANTED-ID"):
        assert planted.encode() not in written
    audit = (tmp_path / "node" / "audit.jsonl").read_text()
    assert '"event": "sent"' in audit
    assert study(1)[0].StudyInstanceUID not in audit


def test_only_named_callers_get_in(running: Running) -> None:
    assert associate(running.node.receiver.port, calling="STRANGER").is_rejected
    assert associate(running.node.receiver.port, called="OTHER").is_rejected


def test_what_is_too_large_or_has_a_hostile_uid_is_refused(running: Running, tmp_path: Path) -> None:
    large, hostile = study(1)[0], study(2)[0]
    large.PixelData = bytes(1 << 20)
    with pytest.warns(UserWarning, match="UI"):
        hostile.StudyInstanceUID = "../../../etc"
    assert push(running.node.receiver.port, [large, hostile]) == [0xA700, 0xC000]
    assert not list((tmp_path / "node" / "incoming").iterdir())
    with pytest.raises(urllib.error.HTTPError, match="404"):
        running.get("/../etc/passwd")


def test_an_aborted_association_leaves_a_study_to_be_finished(running: Running) -> None:
    images = study(1)
    association = associate(running.node.receiver.port)
    assert association.send_c_store(images[0]).Status == 0
    association.abort()
    assert push(running.node.receiver.port, images[1:]) == [0, 0]
    running.wait(lambda: running.archive.stored)
    time.sleep(0.6)
    assert len(running.archive.stored) == 1


def test_a_full_disk_is_said_to_the_sender(tmp_path: Path) -> None:
    made = Running(tmp_path / "node", min_free_mb=1 << 40)
    try:
        assert push(made.node.receiver.port, study(1)[:1]) == [0xA700]
    finally:
        made.stop()


def test_settings_that_cannot_work_are_refused(running: Running, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another node uses this folder"):
        Node(tmp_path / "node", MemoryArchive(), RULES, answer_simply, NodeSettings(["SENDER"], **SETTINGS))
    with pytest.raises(ConfigError, match="cannot be listened on"):
        taken = SETTINGS | {"port": running.node.receiver.port}
        Node(tmp_path / "other", MemoryArchive(), RULES, answer_simply, NodeSettings(["SENDER"], **taken))
    with pytest.raises(ConfigError, match="no AE title may call"):
        Node(tmp_path / "third", MemoryArchive(), RULES, answer_simply, NodeSettings([], **SETTINGS))
    with pytest.raises(ConfigError, match="no rules"):
        Node(tmp_path / "fourth", MemoryArchive(), [], answer_simply, NodeSettings(["SENDER"], **SETTINGS))


def test_killed_twice_among_four_senders_every_study_is_answered_exactly_once(tmp_path: Path) -> None:
    answers = answers_under_load(tmp_path, 12, kill_after=(1, 4))
    assert answers == {study(n)[0].StudyInstanceUID: 1 for n in range(12)}
