"""An append-only account of what was done, without patient identity: UIDs are keyed hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


class Audit:
    """Writes one JSON object a line.

    The key of the hashes lies beside the log, readable by its owner only: who has both can tell whether a known UID
    is in the log, and nobody else can.

    Args:
        folder: Where ``audit.jsonl`` and ``audit.key`` lie.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "audit.jsonl"
        self._lock = threading.Lock()
        key = folder / "audit.key"
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new,
        ):
            new.write(secrets.token_hex(32))
        self._key = bytes.fromhex(key.read_text("ascii"))

    def hashed(self, uid: str) -> str:
        """The name that a UID goes by: 32 hexadecimal digits."""
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:32]

    def note(self, event: str, study_uid: str = "", **details: str | int) -> None:
        """Adds a line, on disk when this returns."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        if study_uid:
            line["study"] = self.hashed(study_uid)
        text = json.dumps(line | details, ensure_ascii=True) + "\n"
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, text.encode("ascii"))
                os.fsync(handle)
            finally:
                os.close(handle)
