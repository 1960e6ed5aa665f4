"""Batches on a real Ray cluster, on the loopback interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.batch.archive import Here, answered, answering, slow, table_without_times, write_archive
from tests.packaging.conftest import ROOT
from tests.serving.loopback import free_port, only_loopback
from tips_med.batch import run_batch
from tips_med.batch.executors.ray_cluster import RayExecutor
from tips_med.errors import ConfigError

pytest.importorskip("ray", reason="needs tips-med[ray]")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def address(tmp_path, monkeypatch) -> Iterator[str]:
    """A cluster of one node with two cores, in a network namespace of its own where that is allowed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with ExitStack() as stack:
        with suppress(OSError):  # it listens on 127.0.0.1 in any case
            stack.enter_context(only_loopback())
        port = free_port()
        ray = Path(sys.executable).with_name("ray")
        options = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--num-gpus=0", "--block"]
        options += ["--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={80 << 20}"]
        # Sockets have short names only.
        folder = Path(tempfile.gettempdir()) / f"tips-med-ray-{os.getpid()}-{port}"
        with (tmp_path / "ray.txt").open("wb") as out:
            # Ray gives its parts 15 s to start, which they do not keep beside other work unless they come first.
            command = ["nice", "-n", "-15", ray, "start", *options, f"--temp-dir={folder}"]
            head = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            end = time.monotonic() + 60
            while b"Ray runtime started" not in (said := (tmp_path / "ray.txt").read_bytes()):
                if b"timed out during startup" in said:
                    pytest.skip("Ray does not start within its own limits on this machine, which is too busy")
                assert time.monotonic() < end, said.decode()
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            for process in [*psutil.Process(head.pid).children(recursive=True), head]:
                process.kill()
            head.wait()
            subprocess.run(["rm", "-rf", folder], check=True)


def test_a_worker_dies_and_every_scan_is_answered_once(address, tmp_path):
    source, out = write_archive(tmp_path / "in", 6), tmp_path / "out"
    killed: list[int] = []

    def kill_one() -> None:
        while len(answered(out)) < 2:
            time.sleep(0.2)
        victim = next(one for one in psutil.process_iter() if one.name().startswith("ray::_Actor"))
        os.kill(victim.pid, signal.SIGKILL)
        killed.append(victim.pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = run_batch(source, answering(out, slow), RayExecutor(address, workers=2))
    killer.join()
    assert killed
    assert (result.answered, result.complete) == (6, True)
    assert set(answered(out).values()) == {1}
    assert len(answered(out)) == 6
    plain = tmp_path / "plain"
    run_batch(source, answering(plain), Here())
    assert table_without_times(out) == table_without_times(plain)


def test_no_worker_at_all_is_refused():
    with pytest.raises(ConfigError, match="0 workers"):
        RayExecutor("auto", workers=0)


def test_a_cluster_that_is_not_there_is_told(tmp_path):
    source = write_archive(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match="no Ray cluster"):
        run_batch(source, answering(tmp_path / "out"), RayExecutor("127.0.0.1:1"))
