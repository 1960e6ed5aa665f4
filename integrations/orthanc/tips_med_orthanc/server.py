"""A client of ``tips-med serve`` by the standard library alone: Debian's Python stays as it is."""

from __future__ import annotations

import json
import re
import secrets
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError, URLError

from tips_med_orthanc.settings import Settings

MAX_JSON_BYTES = 16 << 20
MAX_OBJECT_BYTES = 512 << 20
_EVERY_S = 0.5
_PATH = re.compile(r"/v1/[A-Za-z0-9/._-]*")


class ServerError(Exception):
    """The server refuses, or cannot be asked.

    Args:
        code: Short stable name of the reason, such as ``wrong-token``.
        message: The reason in words; it names no patient.
        again: Whether it may work later, unchanged.
        status: HTTP status; 0 where the server did not answer.
    """

    def __init__(self, code: str, message: str, *, again: bool = False, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.again, self.status = code, again, status

    def entry(self) -> dict[str, str]:
        """Code and reason, for JSON."""
        return {"code": self.code, "message": str(self)}


class Server:
    """Asks a server; methods may be called from any thread, and raise ``ServerError``.

    Args:
        settings: Where it is.
        stopping: Set when waiting has to end.
    """

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._settings, self._stopping = settings, stopping
        context = ssl.create_default_context(cafile=None if settings.ca is None else str(settings.ca))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect
        )

    def refer(self, study_uid: str, series_uid: str) -> str:
        """Lets the server fetch a series by DICOMweb; the server's id of it."""
        body = {"dicomweb": {"url": self._settings.dicomweb, "study": study_uid, "series": series_uid}}
        return _id_of(self._json("POST", "/v1/studies", body))

    def upload(self, archive: IO[bytes], size: int) -> str:
        """Sends a zip archive of images; the server's id of it.

        Args:
            archive: The archive, read from where it is.
            size: Its size in bytes.
        """
        mark = secrets.token_hex(16)
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="scan"\r\n\r\n'.encode()
        tail = f"\r\n--{mark}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        return _id_of(_parse(self._send("POST", "/v1/studies", _Chain(head, archive, tail), headers, MAX_JSON_BYTES)))

    def forget(self, study: str) -> None:
        """Removes what the server keeps of a study."""
        self._json("DELETE", f"/v1/studies/{study}")

    def wait(self, study: str, tell: Callable[[str, int, int], Any]) -> None:
        """Waits until a study is encoded.

        Args:
            study: The server's id.
            tell: Called with state, slabs done and slabs in all.
        """
        until = time.monotonic() + self._settings.timeout_s
        while time.monotonic() < until:
            entry = self._json("GET", f"/v1/studies/{study}")
            state = entry.get("state")
            if state == "ready":
                return
            if state == "failed":
                raise _refusal(entry.get("error"), 0)
            if state == "cancelled":
                raise ServerError("cancelled", "someone cancelled this series on the server", again=True)
            tell(str(state), _number(entry.get("done")), _number(entry.get("total")))
            if self._stopping.wait(_EVERY_S):
                raise ServerError("stopping", "Orthanc is stopping", again=True)
        raise ServerError("too-slow", f"not encoded within {self._settings.timeout_s:g} s", again=True)

    def ask(self, study: str, query: str) -> list[dict[str, Any]]:
        """Asks an encoded study; entries of the server's report, one a query that the text holds.

        A text that the server cannot answer gives an entry with the reason, as one of several queries does.
        """
        try:
            told = self._json("POST", f"/v1/studies/{study}/answers", {"query": query})
        except ServerError as error:
            if error.status != 422:
                raise
            return [{"query": query, "declined": {"code": error.code, "reason": str(error)}}]
        answers = told.get("answers")
        if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
            raise _stranger()
        return answers

    def dicom(self, url: str) -> bytes:
        """A DICOM object of an answer, by the path that the report gives."""
        content = self._send("GET", url, None, {}, MAX_OBJECT_BYTES)
        if content[128:132] != b"DICM":
            raise ServerError("no-dicom", "the server sent no DICOM object")
        return content

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        sent = None if body is None else json.dumps(body).encode()
        return _parse(self._send(method, path, sent, {"Content-Type": "application/json"}, MAX_JSON_BYTES))

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str], limit: int) -> bytes:
        if not _PATH.fullmatch(path) or ".." in path:
            raise _stranger()
        if self._settings.token is not None:
            headers = headers | {"Authorization": f"Bearer {self._settings.token}"}
        request = urllib.request.Request(self._settings.server + path, body, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._settings.timeout_s) as response:
                content = response.read(limit + 1)
        except HTTPError as error:
            with error:
                raise _refusal(_told(error), error.code) from None
        except (OSError, HTTPException) as error:  # URLError is an OSError
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLError):
                raise ServerError("no-trust", "the server's certificate is not trusted; CaFile names others") from None
            if isinstance(reason, TimeoutError):
                raise ServerError("too-slow", "the server does not answer in time", again=True) from None
            raise ServerError(
                "unreachable", f"the server cannot be reached at {self._settings.server}; is it running?", again=True
            ) from None
        if len(content) > limit:
            raise ServerError("too-large", f"the server sent more than {limit >> 20} MB")
        return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the token goes to the server of the settings alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Chain:
    """What comes before a file, the file and what comes after it, as one stream; the file is never whole in memory."""

    def __init__(self, head: bytes, file: IO[bytes], tail: bytes) -> None:
        self._parts: list[Any] = [head, file, tail]

    def read(self, size: int = -1) -> bytes:
        while self._parts:
            first = self._parts[0]
            block = first if isinstance(first, bytes) else first.read(size if size > 0 else 1 << 20)
            if isinstance(first, bytes) or not block:
                self._parts.pop(0)
            if block:
                return block
        return b""


def _told(error: HTTPError) -> Any:
    try:
        return json.loads(error.read(1 << 16))
    except (OSError, ValueError, HTTPException):
        return None


def _refusal(entry: Any, status: int) -> ServerError:
    if not isinstance(entry, dict) or not isinstance(entry.get("code"), str):
        return _stranger()
    parts = [entry.get("message"), entry.get("expected") and f"expected {entry['expected']}", entry.get("remedy")]
    told = "; ".join(str(one)[:500] for one in parts if one)
    return ServerError(entry["code"], told or entry["code"], again=status in (408, 429, 503, 507), status=status)


def _stranger() -> ServerError:
    return ServerError("not-tips-med", "the server does not answer as tips-med serve does; is the address right?")


def _parse(content: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise _stranger()
    return entry


def _id_of(entry: dict[str, Any]) -> str:
    found = entry.get("id")
    if not isinstance(found, str) or not re.fullmatch(r"[0-9a-f]{8,64}", found):
        raise _stranger()
    return found


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
