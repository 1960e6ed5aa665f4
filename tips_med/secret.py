"""Secrets on disk, made when they are first needed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from tips_med.errors import ConfigError, OutputError

_KEY = re.compile(r"[0-9a-f]{64}")


def secret_key(path: Path) -> bytes:
    """The 32 bytes of a key file; one that is not there is made, readable by its owner only.

    Args:
        path: A file of 64 hexadecimal digits.

    Raises:
        ConfigError: The file holds something else, or cannot be read.
        OutputError: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path=path) from error
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("a key cannot be read from it", path=path) from error
    if not _KEY.fullmatch(text):
        raise ConfigError(
            "holds no key", path=path, expected="64 hexadecimal digits", remedy="name a new file to have one made"
        )
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    """Writes a new key beside its place and gives it its name when it is whole; one that came first stays."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w") as new:
            new.write(secrets.token_hex(32))
            new.flush()
            os.fsync(new.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
