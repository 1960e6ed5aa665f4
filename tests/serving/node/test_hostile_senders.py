"""Whatever a caller sends to the node, it goes on, keeps no half object, and takes what the next caller sends."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from tests.serving.node.pieces import study, until
from tests.serving.node.test_node import Running, associate, push
from tips_med.serving.classes import IMAGE_CLASSES

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",  # pynetdicom's own threads end by one
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "node", max_instance_mb=1)
    yield made
    made.stop()


def left(folder: Path) -> list[Path]:
    return [path for part in ("incoming", "arriving") for path in (folder / "node" / part).rglob("*") if path.is_file()]


def recorded(port: int, image: Dataset) -> list[bytes]:
    """The PDUs of a whole conversation that stores an image."""
    said: list[bytes] = []
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(IMAGE_CLASSES[0])
    handlers = [(evt.EVT_DATA_SENT, lambda event: said.append(bytes(event.data)))]
    association = ae.associate("127.0.0.1", port, ae_title="TIPS_NODE", evt_handlers=handlers)  # type: ignore[arg-type]
    association.send_c_store(image)
    association.release()
    return said


def say(port: int, content: bytes) -> None:
    """Sends bytes, and hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        try:
            line.sendall(content)
            line.settimeout(0.2)
            while line.recv(4096):
                pass
        except OSError:
            pass


def taken(port: int, images: list[Dataset]) -> bool:
    """Whether the node lets a sender in, which it does not while it waits for others, and takes what it sends."""
    association = associate(port)
    if not association.is_established:
        return False
    statuses = [association.send_c_store(image).Status for image in images]
    association.release()
    return statuses == [0] * len(images)


def test_damaged_conversations_leave_nothing_and_stop_nothing(running: Running, tmp_path: Path) -> None:
    port = running.node.receiver.port
    image = study(1)[0]
    conversation = recorded(port, image)
    assert len(conversation) >= 3
    until(lambda: len(left(tmp_path)) == 1)
    chance = random.Random(7)
    whole = b"".join(conversation)
    other = study(2)[0].SOPInstanceUID.encode()
    whole = whole.replace(image.SOPInstanceUID.encode(), other)
    begun = len(conversation[0])
    for n in range(40):
        content = bytearray(whole)
        at = chance.randrange(begun if n % 2 else 0, len(content))
        if n % 4 < 2:
            content = content[:at]
        else:
            content[at : at + chance.randrange(1, 8)] = chance.randbytes(4)
        say(port, bytes(content))
    say(port, chance.randbytes(500))
    until(lambda: taken(port, study(3)))
    until(lambda: running.get("/healthz") == "ok\n")
    until(lambda: not list((tmp_path / "node" / "arriving").iterdir()))
    audit = (tmp_path / "node" / "audit.jsonl").read_text()
    assert "Traceback" not in audit


def test_a_message_that_says_that_it_is_huge_is_not_waited_for(running: Running) -> None:
    port = running.node.receiver.port
    began = time.monotonic()
    for kind in (1, 4):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFF0) + bytes(1000))
            line.settimeout(10)
            while line.recv(4096):
                pass
    assert time.monotonic() - began < 10
    assert push(port, study(1)) == [0, 0, 0]


@pytest.mark.parametrize("missing", ["PixelData", "all after the patient"])
def test_a_truncated_object_is_not_acknowledged(running: Running, tmp_path: Path, missing: str) -> None:
    image = study(1)[0]
    if missing == "PixelData":
        del image.PixelData
    else:
        for element in list(image):
            if element.tag.group > 0x0020:
                del image[element.tag]
    assert push(running.node.receiver.port, [image]) == [0xC000]
    assert left(tmp_path) == []
    assert '"truncated"' in (tmp_path / "node" / "audit.jsonl").read_text()


def test_an_object_cut_off_by_an_abort_leaves_nothing(running: Running, tmp_path: Path) -> None:
    port = running.node.receiver.port
    conversation = recorded(port, study(1)[0])
    until(lambda: len(left(tmp_path)) == 1)
    store = b"".join(conversation[1:])
    aborted = conversation[0] + store[: len(store) // 2]
    for _ in range(3):
        say(port, aborted)
        say(port, conversation[0] + store[: len(store) // 2] + struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 0, 0))
    until(lambda: not list((tmp_path / "node" / "arriving").iterdir()))


def test_what_grows_too_large_is_refused_while_it_comes(running: Running, tmp_path: Path) -> None:
    sizes = []
    image = study(1)[0]
    image.Rows = image.Columns = 2000
    image.PixelData = bytes(2 * 2000 * 2000)
    association = associate(running.node.receiver.port)
    handlers = [(evt.EVT_DATA_SENT, lambda event: sizes.append(sum(p.stat().st_size for p in left(tmp_path))))]
    for event, handler in handlers:
        association.bind(event, handler)
    assert association.send_c_store(image).Status == 0xA700
    assert association.send_c_store(study(1)[0]).Status == 0, "the association goes on"
    association.release()
    assert max(sizes) <= 1 << 20
    assert '"too-large"' in (tmp_path / "node" / "audit.jsonl").read_text()


def test_kinds_that_are_not_taken_are_not_negotiated(running: Running) -> None:
    ae = AE(ae_title="SENDER")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.88.11")
    refused = ae.associate("127.0.0.1", running.node.receiver.port, ae_title="TIPS_NODE")
    assert not refused.is_established
    ae.requested_contexts = []
    ae.add_requested_context(IMAGE_CLASSES[0], "1.2.840.10008.1.2.2")  # Explicit VR Big Endian
    assert not ae.associate("127.0.0.1", running.node.receiver.port, ae_title="TIPS_NODE").is_established
    assert push(running.node.receiver.port, study(1)) == [0, 0, 0]
