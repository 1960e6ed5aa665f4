"""Health and metrics over HTTP, for Prometheus; no patient, no UID."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tips_med.errors import ConfigError
from tips_med.serving.node.heartbeat import Heartbeat
from tips_med.serving.node.ledger import Ledger


class _LedgerCollector(Collector):
    def __init__(
        self, ledger: Ledger, folder: Path, heartbeat: Heartbeat, last_look: Callable[[], float | None]
    ) -> None:
        self._ledger, self._folder, self._heartbeat, self._last_look = ledger, folder, heartbeat, last_look

    def collect(self) -> Iterator[GaugeMetricFamily]:
        studies = GaugeMetricFamily("tips_med_studies", "Studies by state", labels=["state"])
        for state, count in self._ledger.counts().items():
            studies.add_metric([state], count)
        yield studies
        free = shutil.disk_usage(self._folder).free
        looked = self._last_look()
        if looked is not None:
            name = "tips_med_last_poll_timestamp_seconds"
            yield GaugeMetricFamily(name, "When the archive was last searched", value=looked)
        since = self._heartbeat.since_s
        if since is not None:
            yield GaugeMetricFamily("tips_med_heartbeat_age_seconds", "Since the node has last done something", since)
        yield GaugeMetricFamily("tips_med_disk_free_bytes", "Room on the disk of the node's folder", value=free)


class StatusServer:
    """Answers ``/healthz`` (200, or 503 when the work has ended or hangs) and ``/metrics``.

    Args:
        ledger: Ledger with the studies to count.
        folder: Folder whose disk is reported.
        heartbeat: Record of the node's work.
        last_look: Function that returns the time of the last search of an archive, in seconds since 1970; None without
            one.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        heartbeat: Heartbeat,
        last_look: Callable[[], float | None],
        host: str,
        port: int,
    ) -> None:
        registry = CollectorRegistry()
        registry.register(_LedgerCollector(ledger, folder, heartbeat, last_look))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(registry))
                elif self.path == "/healthz":
                    hangs = b"hangs\n" if heartbeat.since_s is not None else b"ended\n"
                    self._answer(*((200, b"ok\n") if heartbeat.healthy else (503, hangs)))
                else:
                    self._answer(404, b"not here\n")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror or error})",
                remedy="choose another status_port",
                code="port",
            ) from error
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True, name="tips-med-status").start()

    def close(self) -> None:
        """Ends listening."""
        self._server.shutdown()
        self._server.server_close()
