"""The one place that checks objects from an archive against the request, and keeps or refuses them."""

from __future__ import annotations

import re
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from tips_med.readers.bounded import BoundedFile
from tips_med.serving.archive import Archive, ArchiveError
from tips_med.serving.bounds import Bounds, check_room
from tips_med.serving.classes import IMAGE_CLASSES

_UID = re.compile(r"[0-9.]{1,64}")
_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows")
_PIXELS = ((0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009))
_END_OF_FRAGMENTS = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_UNDEFINED = 0xFFFFFFFF
_LOOK = "look at the archive's log for the reason"


class Stopped(Exception):  # noqa: N818 (no error)
    """Told to stop in between."""


@dataclass(frozen=True)
class Received:
    """The identity in an object's header."""

    study_uid: str
    series_uid: str
    sop_uid: str


def is_uid(text: str) -> bool:
    """Whether a text that a peer sent can be a UID."""
    return _UID.fullmatch(text) is not None


def look_at(path: Path, bounds: Bounds) -> Received:
    """The identity of a received file, if it is whole; no pixels are loaded.

    Raises:
        ArchiveError: ``not-dicom``, ``truncated``, ``bad-uid``, or ``too-large``: it would expand beyond the bounds.
    """
    _check_expansion(path, bounds)
    try:
        with warnings.catch_warnings(), BoundedFile(path) as stream:
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
            syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
            uids = [str(header.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
            whole = syntax == DeflatedExplicitVRLittleEndian or _pixels_are_whole(stream, syntax, header)
    except Exception as error:  # pydicom raises whatever damaged bytes lead it to, and may quote them
        raise ArchiveError(
            f"an object that was sent is no DICOM ({type(error).__name__})", remedy=_LOOK, code="not-dicom"
        ) from error
    if not whole:
        raise ArchiveError("an object that was sent is cut off", remedy="have it sent again", code="truncated")
    if not all(is_uid(uid) for uid in uids):
        raise ArchiveError("an object that was sent has UIDs that are none", remedy=_LOOK, code="bad-uid")
    return Received(*uids)


def take_in(
    archive: Archive,
    study_uid: str,
    series_uid: str | None,
    folder: Path,
    *,
    name: Callable[[str, int], str],
    bounds: Bounds,
    expected: set[str],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Retrieves a study or a series into a folder.

    Every object is checked while it comes: its size, the room on the disk, that it is DICOM and whole, and that it
    belongs to the request. In the end, everything that was expected must have come.

    Args:
        archive: Archive that has the study.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID; the whole study when None.
        folder: Existing folder for the files.
        name: Function that returns the file name for a SOP Instance UID and its number, from 1.
        bounds: Limits on size and disk.
        expected: SOP Instance UIDs that the archive has.
        stopped: Function that returns whether to end, called between two objects.

    Returns:
        The number of files in the folder.

    Raises:
        ArchiveError: ``not-asked-for``, ``incomplete``, see ``look_at``, or what the archive raises.
        OutputError: ``too-large``, ``no-room``.
        Stopped: ``stopped`` returned True.
    """
    got: set[str] = set()
    check_room(folder, bounds)
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=folder) as arriving:
        stream: Any = archive.retrieve(study_uid, Path(arriving), series_uid, bounds)
        with closing(stream):
            for file in stream:
                if stopped():
                    raise Stopped
                received = look_at(file, bounds)
                if received.study_uid != study_uid or series_uid not in (None, received.series_uid):
                    kind = "study" if received.study_uid != study_uid else "series"
                    raise ArchiveError(
                        f"{archive.address} sent an object of another {kind} than was requested",
                        remedy=_LOOK,
                        code="not-asked-for",
                    )
                if received.sop_uid in got:
                    file.unlink()
                    continue
                got.add(received.sop_uid)
                file.replace(folder / name(received.sop_uid, len(got)))
    if expected - got:
        raise ArchiveError(
            f"{archive.address} sent {len(got & expected)} of {len(expected)} instances",
            remedy="try again; if it stays so, look at the archive's log",
            code="incomplete",
        )
    return len(got)


def _check_expansion(path: Path, bounds: Bounds) -> None:
    """Makes sure that a deflated object is no larger than the bounds once it is unpacked, without keeping it."""
    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")
        try:
            meta = read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
                return
            stream.seek(144 + int(meta.FileMetaInformationGroupLength))
            unpacking, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
            data = stream.read(1 << 16)
            while data and not unpacking.eof:
                size += len(unpacking.decompress(data, 1 << 20))
                if size > bounds.max_instance_bytes:
                    raise ArchiveError("an object is larger than is taken, unpacked", remedy=_LOOK, code="too-large")
                data = unpacking.unconsumed_tail or stream.read(1 << 16)
        except (zlib.error, AttributeError, ValueError, OSError) as error:
            raise ArchiveError(
                f"an object cannot be unpacked ({type(error).__name__})", remedy=_LOOK, code="not-dicom"
            ) from error
    if not unpacking.eof:
        raise ArchiveError("an object that was sent is cut off", remedy="have it sent again", code="truncated")


def _pixels_are_whole(stream: BoundedFile, syntax: str, header: pydicom.Dataset) -> bool:
    """Whether the pixel data at the stream's position are all there; an image must have some."""
    order: Literal["little", "big"] = "little" if UID(syntax).is_little_endian else "big"
    tag = stream.read(4)
    if (int.from_bytes(tag[:2], order), int.from_bytes(tag[2:], order)) not in _PIXELS:
        return not tag and "Rows" not in header and str(header.get("SOPClassUID", "")) not in IMAGE_CLASSES
    head = stream.read(4 if UID(syntax).is_implicit_VR else 8)
    length = int.from_bytes(head[-4:], order)
    if length != _UNDEFINED:
        return stream.size - stream.tell() >= length
    stream.seek(max(stream.tell(), stream.size - (1 << 16)))
    return _END_OF_FRAGMENTS in stream.read()
