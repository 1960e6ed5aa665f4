"""Limits on what is accepted from a peer: size of an object, free disk space."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tips_med.errors import OutputError

_LOOK_EVERY_BYTES = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """Limits on what is accepted.

    Attributes:
        max_instance_bytes: Maximum size of one object in bytes; larger ones are refused while they come.
        min_free_bytes: Minimum free space on the disk in bytes.
    """

    max_instance_bytes: int = 4 << 30
    min_free_bytes: int = 256 << 20


class Incoming:
    """A file that an object is written to as it comes, and that ends where the bounds do.

    Args:
        path: Path of the file, with a name of ours, in an existing folder.
        bounds: Limits on size and disk.

    Attributes:
        size: Number of bytes written.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path, self.bounds = path, bounds
        self.size = 0
        self._looked_at = -_LOOK_EVERY_BYTES
        self._stream = path.open("xb")

    def write(self, data: bytes) -> int:
        """Writes, if it may; else the file goes.

        Raises:
            OutputError: ``too-large`` or ``no-room``.
            OSError: The disk does not take it.
        """
        try:
            if self.size + len(data) > self.bounds.max_instance_bytes:
                raise OutputError(
                    "an object is larger than is taken",
                    expected=f"at most {self.bounds.max_instance_bytes >> 20} MB",
                    remedy="raise max_instance_mb if such objects are wanted",
                    code="too-large",
                )
            if self.size - self._looked_at >= _LOOK_EVERY_BYTES:
                check_room(self.path.parent, self.bounds)
                self._looked_at = self.size
            self._stream.write(data)
        except BaseException:
            self.discard()
            raise
        self.size += len(data)
        return len(data)

    def finish(self) -> Path:
        """Closes the file; it is on disk when this returns."""
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError:
            self.discard()
            raise
        self._stream.close()
        return self.path

    def discard(self) -> None:
        """Closes the file and removes it."""
        with suppress(OSError):  # what is not written yet need not be
            self._stream.close()
        self.path.unlink(missing_ok=True)


def check_room(folder: Path, bounds: Bounds) -> None:
    """Makes sure that there is room on the disk.

    Raises:
        OutputError: ``no-room``.
    """
    if shutil.disk_usage(folder).free < bounds.min_free_bytes:
        raise OutputError(
            f"less than {bounds.min_free_bytes >> 20} MB are free on the disk",
            path=folder,
            remedy="make room, or lower min_free_mb",
            code="no-room",
        )
