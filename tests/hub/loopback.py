"""A hub on 127.0.0.1 that answers the routes that huggingface_hub asks for one model, and keeps what is pushed."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """Revisions of one model, by commit.

    Attributes:
        commits: Files by name, by commit.
        branches: Commits by branch or tag.
        asked: Every request, as ``GET /path``.
    """

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.name, self.asked = name, []
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.commit(files, "main")

    def commit(self, files: dict[str, bytes], branch: str) -> str:
        number = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits[number] = dict(files)
        self.branches[branch] = number
        return number

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        number = self.branches.get(revision, revision)
        return (number, self.commits[number]) if number in self.commits else None


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serves a hub; gives its address, for ``HF_ENDPOINT``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._note()
        path, hub = self.path.partition("?")[0], self.hub
        if path == "/api/repos/create":
            self._json({"url": f"http://{self.headers['Host']}/{hub.name}", "name": hub.name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.startswith(f"/api/models/{hub.name}/preupload/"):
            files = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif path.startswith(f"/api/models/{hub.name}/commit/"):
            lines = [json.loads(line) for line in body.splitlines()]
            made = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            number = hub.commit(made, path.rsplit("/", 1)[1])
            url = f"http://{self.headers['Host']}/{hub.name}/commit/{number}"
            self._json({"success": True, "commitOid": number, "commitUrl": url, "hookOutput": ""})
        else:
            self._json({"error": "not found"}, 404)

    def _get(self) -> None:
        self._note()
        path, hub = self.path.partition("?")[0], self.hub
        known = f"/api/models/{hub.name}"
        if path in (known, f"{known}/revision/{path.rsplit('/', 1)[1]}"):
            found = hub.files("main" if path == known else path.rsplit("/", 1)[1])
            if found is not None:
                siblings = [{"rfilename": name} for name in found[1]]
                self._json({"id": hub.name, "modelId": hub.name, "sha": found[0], "siblings": siblings})
                return
        if path.startswith(f"{known}/tree/"):
            found = hub.files(path.rsplit("/", 1)[1])
            if found is not None:
                sizes = {name: len(content) for name, content in found[1].items()}
                self._json([{"type": "file", "path": n, "size": size, "oid": n} for n, size in sizes.items()])
                return
        parts = path.split("/")
        if len(parts) == 6 and parts[3] == "resolve" and "/".join(parts[1:3]) == hub.name:
            found = hub.files(parts[4])
            if found is not None and parts[5] in found[1]:
                self._file(found[0], found[1][parts[5]])
                return
        self._json(
            {"error": "not found"}, 404, {"X-Error-Code": "RevisionNotFound" if known in path else "RepoNotFound"}
        )

    def _note(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")

    def _file(self, commit: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
