"""The size in the header of a compressed frame, read before a decoder runs on it.

A codestream whose own header disagrees with Rows and Columns is refused here: decoders allocate the size in it.
"""

from __future__ import annotations

import struct

from pydicom.encaps import get_frame

from tips_med.errors import ReadError
from tips_med.readers.layouts import PixelLayout

_RLE = "1.2.840.10008.1.2.5"
_JPEG_LS = 0xF7
_SIZE_MARKERS = {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), _JPEG_LS}
"""JPEG start-of-frame markers (ISO 10918-1 table B.1) and JPEG-LS's (ISO 14495-1)."""


def check_codestream(pixel_data: bytes, index: int, layout: PixelLayout) -> None:
    """Refuses a frame whose codestream is of another size than the DICOM header states.

    Raises:
        ReadError: ``damaged-pixels``.
    """
    frame = get_frame(pixel_data, index, number_of_frames=layout.frames)
    if layout.transfer_syntax == _RLE:
        return
    found = _jpeg2000_size(frame) if frame[:2] == b"\xff\x4f" or frame[4:8] == b"jP  " else _jpeg_size(frame)
    if found is None:
        raise ReadError("its compressed pixels are cut short or damaged", path=layout.path, code="damaged-pixels")
    if found != (layout.rows, layout.columns, layout.samples):
        raise ReadError(
            f"its compressed pixels are {found[0]} x {found[1]} with {found[2]} sample(s)",
            path=layout.path,
            expected=f"{layout.rows} x {layout.columns} with {layout.samples}",
            code="damaged-pixels",
        )


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples of a JPEG or JPEG-LS frame that is whole; None for any other.

    Segments must follow one another to the scan, Huffman tables be there for a Huffman scan, and the scan run to the
    end of the image without a foreign marker: GDCM brings the process down, or returns invented pixels, otherwise.
    """
    at, size, huffman, tables = 2, None, False, False
    while frame[:2] == b"\xff\xd8" and at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = struct.unpack(">H", frame[at + 2 : at + 4])[0]
        segment = frame[at + 4 : at + 2 + length]
        if length < 2 or len(segment) < length - 2:
            return None
        if marker in _SIZE_MARKERS:
            if size is not None or len(segment) < 6:
                return None
            size = struct.unpack(">HHB", segment[1:6])
            huffman = marker != _JPEG_LS
        elif marker == 0xC4:
            if not _tables_fit(segment):
                return None
            tables = True
        elif marker == 0xDA:
            scan = frame[at + 2 + length :]
            whole = size is not None and (tables and _scan_ends(scan) if huffman else b"\xff\xd9" in scan)
            return size if whole else None
        elif not 0xDB <= marker <= 0xFE:
            return None
        at += 2 + length
    return None


def _tables_fit(segment: bytes) -> bool:
    """Whether the Huffman tables of a segment are of the length that their counts give (ISO 10918-1 B.2.4.2)."""
    at = 0
    while at + 17 <= len(segment):
        codes = sum(segment[at + 1 : at + 17])
        if not 0 < codes <= 256 or segment[at] & 0x0F > 3:
            return False
        at += 17 + codes
    return at == len(segment)


def _scan_ends(scan: bytes) -> bool:
    """Whether entropy-coded data run to an end-of-image marker, with nothing but restarts between."""
    at = scan.find(0xFF)
    while 0 <= at < len(scan) - 1:
        following = scan[at + 1]
        if following == 0xD9:
            return True
        if following not in (0x00, 0xFF) and not 0xD0 <= following <= 0xD7:
            return False
        at = scan.find(0xFF, at + (1 if following == 0xFF else 2))
    return False


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
