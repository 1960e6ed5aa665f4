"""A DICOMweb archive of a few answers, over HTTPS with an authority of its own, on loopback."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


@dataclass
class Web:
    """What the archive does next, and what it has been asked.

    Attributes:
        url: Its root.
        ca: The certificate of the authority that vouches for it.
        wanted: The Authorization header that it lets in; None lets anybody in.
        statuses: Answered before it begins to answer rightly.
        silent: Says nothing until this is set.
        headers: Authorization headers that came.
        answer: Content type and body of every answer, instead of right ones.
    """

    url: str = ""
    ca: Path = Path()
    wanted: str | None = None
    statuses: list[int] = field(default_factory=list)
    silent: threading.Event | None = None
    headers: list[str | None] = field(default_factory=list)
    answer: tuple[str, bytes] | None = None


@contextmanager
def web_archive(folder: Path) -> Iterator[Web]:
    """Runs it; it has one instance of any study."""
    authority, state = trustme.CA(), Web()
    state.ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(state.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.headers.append(self.headers.get("Authorization"))
            if state.silent is not None:
                state.silent.wait(30)
                self.close_connection = True
                return
            if state.wanted is not None and state.headers[-1] != state.wanted:
                self._answer(401, b"who are you, ZZPLANTED?")
            elif state.answer is not None:
                self._answer(200, state.answer[1], state.answer[0])
            elif state.statuses:
                self._answer(state.statuses.pop(0), b"about ZZPLANTED")
            else:
                self._answer(200, json.dumps([{"00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}]).encode())

        def _answer(self, status: int, body: bytes, kind: str = "application/dicom+json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust us breaks off

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.url = f"https://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        if state.silent is not None:
            state.silent.set()
        server.shutdown()
        server.server_close()
        thread.join(30)
