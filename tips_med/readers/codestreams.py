"""The size that a compressed frame says it has, read before a decoder is let loose on it.

A codestream whose own header disagrees with Rows and Columns is refused here: decoders allocate what it says.
"""

from __future__ import annotations

import struct

from pydicom.encaps import get_frame

from tips_med.errors import ReadError
from tips_med.readers.layouts import PixelLayout

_RLE = "1.2.840.10008.1.2.5"
_SIZE_MARKERS = {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7}
"""JPEG start-of-frame markers (ISO 10918-1 table B.1) and JPEG-LS's (ISO 14495-1)."""


def check_codestream(pixel_data: bytes, index: int, layout: PixelLayout) -> None:
    """Refuses a frame whose codestream is of another size than the header says.

    Raises:
        ReadError: ``damaged-pixels``.
    """
    frame = get_frame(pixel_data, index, number_of_frames=layout.frames)
    if layout.transfer_syntax == _RLE:
        return
    found = _jpeg2000_size(frame) if frame[:2] == b"\xff\x4f" or frame[4:8] == b"jP  " else _jpeg_size(frame)
    if found is None:
        raise ReadError("its compressed pixels have no size", path=layout.path, code="damaged-pixels")
    if found != (layout.rows, layout.columns, layout.samples):
        raise ReadError(
            f"its compressed pixels are {found[0]} x {found[1]} with {found[2]} sample(s)",
            path=layout.path,
            expected=f"{layout.rows} x {layout.columns} with {layout.samples}",
            code="damaged-pixels",
        )


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 10 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _SIZE_MARKERS:
            rows, columns, samples = struct.unpack(">HHB", frame[at + 5 : at + 10])
            return rows, columns, samples
        at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None


def _jpeg2000_size(frame: bytes) -> tuple[int, int, int] | None:
    """From the SIZ segment, which follows SOC at once (ISO 15444-1 A.5.1)."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(frame) < start + 42:
        return None
    width, height, left, top, tile_width, tile_height = struct.unpack(">IIIIII", frame[start + 8 : start + 32])
    samples = struct.unpack(">H", frame[start + 40 : start + 42])[0]
    tiles = -(-width // max(1, tile_width)) * -(-height // max(1, tile_height))
    if left > width or top > height or tiles > 65535:
        return None
    return height - top, width - left, samples
