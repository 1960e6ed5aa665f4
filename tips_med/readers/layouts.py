"""Where and how a DICOM file stores its pixels (PS3.5 section 8 and annex A)."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from tips_med.errors import ReadError
from tips_med.readers.elements import Elements

MAX_INFLATED_BYTES = 1 << 30
"""A deflated file may not grow beyond this (a guard against decompression bombs)."""

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
NATIVE = (IMPLICIT, "1.2.840.10008.1.2.1", BIG_ENDIAN, DEFLATED)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where and how a file stores its pixels.

    ``offset`` and ``length`` (bytes) locate the value of native Pixel Data in the file, or in what a deflated file
    inflates to; for compressed pixels ``length`` is -1.
    """

    path: Path
    transfer_syntax: str
    offset: int
    length: int
    vr: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str

    @property
    def native(self) -> bool:
        """Whether the pixels are stored without compression of their own."""
        return self.transfer_syntax in NATIVE

    @property
    def deflated(self) -> bool:
        """Whether the whole data set is deflated."""
        return self.transfer_syntax == DEFLATED

    @property
    def big_endian(self) -> bool:
        """Whether native samples are big endian."""
        return self.transfer_syntax == BIG_ENDIAN

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first bytes are DICOM: a preamble, or a data set that begins with group 0002 or 0008."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    group, element = struct.unpack("<HH", start[:4])
    if group in (0x0002, 0x0008) and element <= 0x0100:
        vr = start[4:6]
        explicit = vr.isalpha() and vr.isupper()
        return explicit or struct.unpack("<I", start[4:8])[0] <= 256
    return start[:2] == b"\x00\x08" and start[4:6].isalpha() and start[4:6].isupper()


def stated_syntax(start: bytes) -> str:
    """The Transfer Syntax UID in a file's meta information, from its first bytes; empty where there is none."""
    at = start.find(b"\x02\x00\x10\x00UI")
    if at < 0 or len(start) < at + 8:
        return ""
    length = struct.unpack("<H", start[at + 6 : at + 8])[0]
    return start[at + 8 : at + 8 + length].decode("latin-1").strip("\0 ")


def damaged(path: Path, found: str) -> ReadError:
    """The refusal of a file that begins as DICOM and does not go on so."""
    return ReadError(
        f"looks like DICOM, but {found}",
        path=path,
        remedy="copy or export the file again, or move it out of the folder",
        code="damaged-file",
    )


def inflate(path: Path, stream: io.BufferedIOBase) -> tuple[bytes, int]:
    """The data set of a deflated file, and where it begins in the file (PS3.5 A.5)."""
    stream.seek(132)
    start = stream.read(12)
    if len(start) < 12 or start[:6] != b"\x02\x00\x00\x00UL":
        raise damaged(path, "its file meta information has no length")
    offset = 144 + struct.unpack("<I", start[8:12])[0]
    stream.seek(offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(stream.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ReadError(
            f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB",
            path=path,
            code="too-large",
            remedy="check the file",
        )
    if not inflater.eof:
        raise ReadError("is cut short: its deflated data set does not end", path=path, code="truncated-file")
    return data, offset


def locate_pixels(
    path: Path, values: Elements, syntax: str, stream: io.BufferedIOBase, size: int
) -> PixelLayout | None:
    """The pixels that follow the header; the stream stands at the element that stopped the parser."""
    big, implicit = syntax == BIG_ENDIAN, syntax == IMPLICIT
    element = stream.read(12)
    if len(element) < 8 or struct.unpack(">HH" if big else "<HH", element[:4]) != (0x7FE0, 0x0010):
        return None
    order = ">I" if big else "<I"
    if implicit:
        vr, length, offset = "OW", struct.unpack(order, element[4:8])[0], stream.tell() - len(element) + 8
    elif len(element) == 12:
        vr, length, offset = element[4:6].decode("latin-1"), struct.unpack(order, element[8:12])[0], stream.tell()
    else:
        return None
    if length == _UNDEFINED:
        length = -1
    elif syntax in NATIVE:
        length = min(length, max(0, size - offset))
    bits = values.integer("BitsAllocated")
    return PixelLayout(
        path=path,
        transfer_syntax=syntax,
        offset=offset,
        length=length,
        vr=vr,
        rows=values.integer("Rows"),
        columns=values.integer("Columns"),
        frames=max(1, values.integer("NumberOfFrames", 1)),
        samples=values.integer("SamplesPerPixel", 1),
        bits_allocated=bits,
        bits_stored=values.integer("BitsStored", bits),
        high_bit=values.integer("HighBit", values.integer("BitsStored", bits) - 1),
        signed=values.integer("PixelRepresentation") == 1,
        photometric=values.text("PhotometricInterpretation"),
    )
