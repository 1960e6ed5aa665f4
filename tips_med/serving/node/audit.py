"""An append-only account of what was done, without patient identity: UIDs are keyed hashes."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from tips_med.secret import secret_key


class Audit:
    """Writes one JSON object a line.

    The key of the hashes lies beside the log, readable by its owner only: who has both can find whether a known UID
    is in the log, and nobody else can.

    Args:
        folder: Folder of ``audit.jsonl`` and ``audit.key``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "audit.jsonl"
        self._lock = threading.Lock()
        self._key = secret_key(folder / "audit.key")

    def hashed(self, uid: str) -> str:
        """The name of a UID in the log: 32 hexadecimal digits."""
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:32]

    def note(self, event: str, study_uid: str = "", **details: str | int) -> None:
        """Adds a line, on disk when this returns.

        Raises:
            OSError: It cannot be written.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        if study_uid:
            line["study"] = self.hashed(study_uid)
        text = json.dumps(line | details, ensure_ascii=True) + "\n"
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                before = os.fstat(handle).st_size
                if os.write(handle, text.encode("ascii")) < len(text):
                    os.ftruncate(handle, before)  # a full disk leaves no half line
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
