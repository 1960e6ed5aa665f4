"""Where scans come from: an upload, a DICOMweb archive that the operator allowed, a path that the operator named."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tips_med.encoders.study import EncodedStudy, is_study
from tips_med.grounding.modality import with_stated_modality
from tips_med.readers import read_scan
from tips_med.scan import Scan
from tips_med.server.refusals import RequestError
from tips_med.server.settings import ServerSettings
from tips_med.serving.bounds import Bounds, check_room
from tips_med.serving.intake import is_uid

NIFTI, NIFTI_GZ, ZIP = "source.nii", "source.nii.gz", "source.zip"
FETCHED = "source"
READING = {"series": str, "phase": int, "fill_gaps": bool, "untilt": bool, "modality": str}
"""Options of an upload, which are those of ``tips-med ground``."""
_BLOCK = 1 << 20


def reading_options(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The options of reading that a client gave, checked.

    Raises:
        RequestError: ``bad-request``.
    """
    options: dict[str, Any] = {}
    for name, kind in READING.items():
        value = raw.get(name)
        if value in (None, ""):
            continue
        if kind is bool:
            good = str(value).lower() in ("true", "false", "1", "0")
            value = str(value).lower() in ("true", "1")
        elif kind is int:
            good = str(value).isdecimal() and 0 < int(value) < 10_000
            value = int(value) if good else value
        else:
            good = is_uid(str(value)) if name == "series" else value in ("CT", "MR")
            value = str(value)
        if not good:
            raise RequestError(
                400,
                "bad-request",
                f"{name} has a value that it cannot have",
                expected={"series": "a UID", "phase": "a number from 1", "modality": "CT or MR"}.get(
                    name, "true or false"
                ),
            )
        if value is not False:
            options[name] = value
    return options


def study_id(kind: str, content: str, options: Mapping[str, Any]) -> str:
    """The id of a study: the same for the same content read in the same way."""
    text = json.dumps([kind, content, dict(sorted(options.items()))])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def take_upload(stream: BinaryIO, folder: Path, settings: ServerSettings) -> tuple[str, str]:
    """Copies an upload into a folder, under a name of ours.

    Args:
        stream: The upload; its file name is never looked at.
        folder: New folder.
        settings: Limits.

    Returns:
        Kind of the source (``nifti`` or ``dicom``) and SHA-256 of its content.

    Raises:
        RequestError: ``not-a-scan``, or see ``check_size``.
        OutputError: ``no-room``.
    """
    check_room(folder, Bounds(min_free_bytes=settings.min_free_mb << 20))
    start = stream.read(512)
    stream.seek(0)
    name = NIFTI_GZ if start[:2] == b"\x1f\x8b" else ZIP if start[:4] == b"PK\x03\x04" else NIFTI
    if name == NIFTI and start[344:348] not in (b"n+1\0", b"ni1\0") and start[4:8] not in (b"n+2\0", b"ni2\0"):
        raise RequestError(
            422,
            "not-a-scan",
            "the upload is no scan that can be read",
            expected="NIfTI (.nii, .nii.gz), or a zip archive of DICOM files",
        )
    digest = hashlib.sha256()
    with (folder / name).open("xb") as target:
        while block := stream.read(_BLOCK):
            digest.update(block)
            target.write(block)
    check_size(folder / name, settings.max_mvoxels)
    return "dicom" if name == ZIP else "nifti", digest.hexdigest()


def check_size(path: Path, max_mvoxels: int) -> None:
    """Refuses a small file that would unpack to a large scan, before anything is unpacked.

    Raises:
        RequestError: ``too-large``, or ``damaged-archive``.
    """
    try:
        if path.name == ZIP:
            with zipfile.ZipFile(path) as archive:
                voxels = sum(member.file_size for member in archive.infolist()) // 2
        else:
            with gzip.open(path) if path.name == NIFTI_GZ else path.open("rb") as stream:
                header = stream.read(540)
            voxels = _claimed_voxels(header)
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise RequestError(
            422, "damaged-archive", "the upload cannot be unpacked", remedy="make it again, and send all of it"
        ) from error
    if voxels > max_mvoxels * 1_000_000:
        raise RequestError(
            413,
            "too-large",
            f"the scan would have {voxels / 1e6:.0f} million voxels",
            expected=f"at most {max_mvoxels} million",
        )


def _claimed_voxels(header: bytes) -> int:
    """The number of voxels that a header of NIfTI-1 or NIfTI-2 claims; 0 for what is none, which the reader refuses."""
    for order in "<>":
        size = struct.unpack_from(order + "i", header.ljust(4, b"\0"))[0]
        layout, at = {348: ("8h", 40), 540: ("8q", 16)}.get(size, ("", 0))
        if layout and len(header) >= size:
            axes, *lengths = struct.unpack_from(order + layout, header, at)
            return math.prod(max(1, length) for length in lengths[: max(0, min(axes, 7))])
    return 0


def dicomweb_options(raw: Mapping[str, Any], settings: ServerSettings) -> dict[str, str]:
    """A series of an archive that the operator allowed.

    Raises:
        RequestError: ``bad-request``, or ``not-allowed``: the archive is none of the operator's.
    """
    url, study, series = (str(raw.get(name, "")) for name in ("url", "study", "series"))
    if url.rstrip("/") not in {one.rstrip("/") for one in settings.dicomweb}:
        raise RequestError(
            403,
            "not-allowed",
            "this archive is none of those that the server may ask",
            remedy="ask the operator to name it with --dicomweb",
        )
    if not is_uid(study) or not is_uid(series):
        raise RequestError(400, "bad-request", "study or series is no UID", expected="two UIDs: digits and dots")
    return {"url": next(one for one in settings.dicomweb if one.rstrip("/") == url.rstrip("/")), "study": study} | {
        "series": series
    }


def refers_to_dicom(kind: str, options: Mapping[str, Any], scan: Scan) -> bool:
    """Whether results can be written as DICOM: the images that they refer to are there."""
    return scan.provenance.format == "dicom" and not (kind == "local" and is_study(options["path"]))


def source_path(kind: str, folder: Path, options: Mapping[str, Any]) -> Path:
    """The path that a study is read from."""
    if kind == "local":
        return Path(options["path"])
    if kind == "dicomweb":
        return folder / FETCHED
    names = (ZIP,) if kind == "dicom" else (NIFTI, NIFTI_GZ)
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


def read_source_scan(
    kind: str, folder: Path, options: Mapping[str, Any], settings: ServerSettings
) -> Scan | EncodedStudy:
    """Reads a study's source; fetches it first where it lies in an archive.

    Returns:
        A scan, or a study that was encoded before (of kind ``local`` only).

    Raises:
        TipsMedError: It cannot be fetched, or not be read rightly.
    """
    if kind == "dicomweb":
        _fetch(folder / FETCHED, options, settings)
    path = source_path(kind, folder, options)
    if kind == "local" and is_study(path):
        return EncodedStudy.load(path)
    reading = {name: options[name] for name in ("series", "phase", "fill_gaps", "untilt") if name in options}
    return with_stated_modality(read_scan(path, **reading), options.get("modality"))


def _fetch(target: Path, options: Mapping[str, Any], settings: ServerSettings) -> None:
    if target.is_dir() and any(target.iterdir()):
        return  # it was fetched whole before the server was stopped
    from tips_med.serving.connect import open_archive
    from tips_med.serving.fetching import fetch_series

    shutil.rmtree(target, ignore_errors=True)
    bounds = Bounds(settings.max_upload_mb << 20, settings.min_free_mb << 20)
    url = options["url"]
    with open_archive(url, credentials=settings.dicomweb.get(url), ca=settings.ca) as archive:
        fetch_series(archive, options["study"], target, options["series"], bounds)
