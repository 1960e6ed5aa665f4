"""Bodies of several parts (RFC 2046 section 5.1), part by part to disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from email.message import Message
from pathlib import Path

from tips_med.serving.archive import ArchiveError
from tips_med.serving.bounds import Bounds, Incoming

_MAX_HEADER_BYTES = 1 << 16
_MAX_PADDING_BYTES = 1024


def media_type(content_type: str) -> tuple[str, str | None]:
    """The media type of a Content-Type header in lower case, and its boundary."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    return header.get_content_type() if content_type else "", boundary or None


def parts(chunks: Iterable[bytes], boundary: str, folder: Path, bounds: Bounds) -> Iterator[Path]:
    """The parts of a body as files, one by one; what stands before the first and after the last is passed over.

    No more of a part than a chunk is in memory.

    Args:
        chunks: Body in chunks of any length.
        boundary: Boundary from the Content-Type.
        folder: Folder for the files, which are numbered.
        bounds: Limits on the size of a part, and on the disk.

    Raises:
        ArchiveError: ``incomplete``: the body ends before its last boundary, or is no such body.
        OutputError: ``too-large`` or ``no-room``.
    """
    body = _Body(iter(chunks), b"\r\n--" + boundary.encode("latin-1", "replace"))
    body.skip_part()
    number = 0
    while body.another_part():
        body.skip_headers()
        file = Incoming(folder / f"{number:08d}.part", bounds)
        number += 1
        try:
            for piece in body.part():
                file.write(piece)
        except ArchiveError:
            file.discard()
            raise
        yield file.finish()


class _Body:
    """A body that is read from the front; ``left`` holds what has come and is not used yet."""

    def __init__(self, chunks: Iterator[bytes], delimiter: bytes) -> None:
        self._chunks, self._delimiter = chunks, delimiter
        self._left = bytearray(b"\r\n")  # the first boundary may stand at the very beginning

    def _more(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._left += chunk
                return
        raise ArchiveError(
            "the archive's answer ends before its last boundary",
            remedy="try again; if it stays so, look at the archive's log",
            code="incomplete",
        )

    def part(self) -> Iterator[bytes]:
        """What comes before the next delimiter line, which is then the next to be read."""
        keep = len(self._delimiter) + _MAX_PADDING_BYTES
        while True:
            found = self._left.find(self._delimiter)
            if found < 0:
                ready = max(0, len(self._left) - len(self._delimiter) + 1)
            else:
                with suppress(ArchiveError):  # the last delimiter needs no line end
                    while len(self._left) < found + keep and not self._is_delimiter(found):
                        self._more()
                if self._is_delimiter(found):
                    yield bytes(self._left[:found])
                    del self._left[:found]
                    return
                ready = found + 1
            if ready:
                yield bytes(self._left[:ready])
                del self._left[:ready]
            if found < 0:
                self._more()

    def _is_delimiter(self, at: int) -> bool:
        """Whether the delimiter is a line of its own: the same bytes may begin a longer line of the part."""
        rest = bytes(self._left[at + len(self._delimiter) : at + len(self._delimiter) + _MAX_PADDING_BYTES])
        return rest.startswith(b"--") or rest.lstrip(b" \t").startswith(b"\r\n")

    def skip_part(self) -> None:
        """Passes over all before the next delimiter line."""
        for _ in self.part():
            pass

    def another_part(self) -> bool:
        """Reads the delimiter line; False when it was the last."""
        del self._left[: len(self._delimiter)]
        if self._left.startswith(b"--"):
            return False
        del self._left[: self._left.index(b"\r\n")]
        return True

    def skip_headers(self) -> None:
        """Reads the line end after the delimiter, and the part's headers with the empty line that ends them."""
        while (end := self._left.find(b"\r\n\r\n")) < 0:
            if len(self._left) > _MAX_HEADER_BYTES:
                raise ArchiveError(
                    "a part of the archive's answer has endless headers",
                    remedy="look at the archive's log",
                    code="incomplete",
                )
            self._more()
        del self._left[: end + 4]
