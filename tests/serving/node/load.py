"""Many studies from several senders at once, while the node is killed; used by a test and by a benchmark."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from tests.serving.loopback import free_port
from tests.serving.node.pieces import study
from tips_med.serving.dimse import IMAGE_CLASSES, SYNTAXES, DimseArchive, Peer

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def answers_under_load(
    folder: Path, count: int, kill_after: Sequence[int], senders: int = 4, waits_s: Sequence[float] = ()
) -> Counter[str]:
    """Pushes studies at a node of its own process, and kills that.

    Args:
        folder: Where the node and the studies lie.
        count: How many studies.
        kill_after: The node is killed when so many studies have been answered.
        senders: How many push at once.
        waits_s: How long after that each kill comes, so that it comes in the middle of anything; at once if left out.

    Returns:
        How many answers the archive has got, by Study Instance UID.
    """
    got: list[tuple[str, str]] = []
    archive_port, port = free_port(), free_port()
    server = _archive(archive_port, got)
    command = [sys.executable, "-m", "tests.serving.node.serve", str(folder / "node")]
    command += [f"dicom://STORE@127.0.0.1:{archive_port}", str(port)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def answered() -> int:
        return len({study_uid for study_uid, _ in got})

    node = start()
    threads = [threading.Thread(target=_send, args=(folder, port, range(n, count, senders))) for n in range(senders)]
    try:
        for thread in threads:
            thread.start()
        for n, least in enumerate(kill_after):
            wait_for(lambda least=least: answered() >= least)
            time.sleep(waits_s[n] if waits_s else 0)
            node.kill()
            node.wait()
            node = start()
        for thread in threads:
            thread.join(400)
        wait_for(lambda: answered() == count)
        time.sleep(2)  # for an answer too many to come, if there is one
        node.send_signal(signal.SIGTERM)
        if node.wait(60) != 0:
            raise RuntimeError(f"the node ended with {node.returncode} on SIGTERM")
    finally:
        if node.poll() is None:
            node.kill()
            node.wait()
        server.shutdown()
    return Counter(study_uid for study_uid, _ in got)


def wait_for(condition: Callable[[], Any], seconds: float = 400) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.1)


def _send(folder: Path, port: int, numbers: range) -> None:
    """Sends each study until all of it was taken, as archives do."""
    archive = DimseArchive(Peer("TIPS_NODE", "127.0.0.1", port), calling="SENDER", timeout_s=20)
    for number in numbers:
        place = folder / f"study{number}"
        place.mkdir()
        for n, image in enumerate(study(number)):
            image.save_as(place / f"{n}.dcm", enforce_file_format=True)
        for _ in range(400):
            try:
                archive.store(sorted(place.iterdir()))
                break
            except Exception:  # the node was killed, or is not up yet
                time.sleep(0.3)


def _archive(port: int, got: list[tuple[str, str]]) -> Any:
    """A peer that stores, and can be asked what it has."""

    def store(event: Any) -> int:
        got.append((str(event.dataset.StudyInstanceUID), str(event.dataset.SOPInstanceUID)))
        return 0

    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for study_uid, sop in list(got):
            if study_uid == event.identifier.StudyInstanceUID:
                item = Dataset()
                item.QueryRetrieveLevel, item.SOPInstanceUID = "IMAGE", sop
                yield 0xFF00, item

    ae = AE(ae_title="STORE")
    for sop_class in IMAGE_CLASSES:
        ae.add_supported_context(sop_class, list(SYNTAXES))
    ae.add_supported_context(_FIND)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)]
    return ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
