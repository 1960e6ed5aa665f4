"""Health and metrics, asked over HTTP."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tips_med.errors import ConfigError
from tips_med.serving.node.heartbeat import Heartbeat
from tips_med.serving.node.ledger import Ledger
from tips_med.serving.node.status import StatusServer


class Asked:
    """A server on a ledger of its own, whose clock stands at 100 s."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.now, self.looked = 100.0, None
        self.heartbeat = Heartbeat(10.0, lambda: self.now)
        self.server = StatusServer(self.ledger, folder, self.heartbeat, lambda: self.looked, "127.0.0.1", 0)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=10) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain")
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        lines = self.get("/metrics")[1].splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.server.close()


def test_health_is_that_of_the_work(asked: Asked) -> None:
    assert asked.get("/healthz") == (503, "ended\n")
    asked.heartbeat.beat()
    assert asked.get("/healthz") == (200, "ok\n")
    asked.now += 10.0
    assert asked.get("/healthz") == (200, "ok\n")
    asked.now += 0.1
    assert asked.get("/healthz") == (503, "hangs\n")
    assert asked.get("/") == (404, "not here\n")


def test_metrics_count_studies_and_say_how_long_ago_things_were(asked: Asked, tmp_path: Path) -> None:
    asked.ledger.add("a", "1.2", "1.dcm")
    asked.ledger.add("b", "1.3", "2.dcm")
    asked.ledger.mark_finished("b", "quarantined")
    found = asked.metrics()
    free = found.pop("tips_med_disk_free_bytes")
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert found == {
        'tips_med_studies{state="receiving"}': 1,
        'tips_med_studies{state="sending"}': 0,
        'tips_med_studies{state="done"}': 0,
        'tips_med_studies{state="quarantined"}': 1,
    }
    asked.heartbeat.beat()
    asked.now, asked.looked = 104.0, 1234.5  # type: ignore[assignment]
    found = asked.metrics()
    assert found["tips_med_heartbeat_age_seconds"] == 4.0
    assert found["tips_med_last_poll_timestamp_seconds"] == 1234.5


def test_a_port_that_is_taken_is_named(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be listened on") as refused:
        StatusServer(asked.ledger, tmp_path, asked.heartbeat, lambda: None, "127.0.0.1", asked.server.port)
    assert refused.value.code == "port"
