"""A file that never gives, nor makes room for, more than is left in it."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType


class BoundedFile(io.BufferedIOBase):
    """A binary file for parsers that trust the lengths they read.

    ``read(4 GB)`` of an ordinary file makes room for 4 GB before it finds that the file is small; here a damaged
    length costs nothing.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self.size = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, all that are left when negative."""
        left = max(0, self.size - self._stream.tell())
        return self._stream.read(left if size is None or size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves; past the end is the end."""
        return self._stream.seek(min(offset, self.size) if whence == io.SEEK_SET else offset, whence)

    def tell(self) -> int:
        """The position in bytes."""
        return self._stream.tell()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        super().close()

    def __enter__(self) -> BoundedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
