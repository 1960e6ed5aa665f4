"""What the plugin reads from Orthanc and writes to it, by Orthanc's own identifiers."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from dataclasses import dataclass
from typing import IO, Any

import orthanc  # given by the Python plugin of Orthanc

CT = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
}
MARK = "4207"
"""Number of the metadata of a series that tells what was asked of it; 1024 to 65535 are for users of Orthanc."""


class NoSuchSeriesError(Exception):
    """Orthanc has no such CT series."""


@dataclass(frozen=True)
class Series:
    """A CT series.

    Attributes:
        id: Orthanc's identifier.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        number: Series Number, or an empty text.
        instances: Orthanc's identifiers of its images.
        stable: Whether no image has come for a while (Orthanc's ``StableAge``).
    """

    id: str
    study_uid: str
    series_uid: str
    number: str
    instances: tuple[str, ...]
    stable: bool

    @property
    def images(self) -> str:
        """A digest of which images it has."""
        return hashlib.sha256("\n".join(sorted(self.instances)).encode()).hexdigest()


def ct_series_of_study(study: str) -> list[Series]:
    """The CT series of a study; what is no CT image, as our own results, is left out.

    Raises:
        NoSuchSeriesError: There is none.
    """
    found = [series for one in _get(f"/studies/{study}").get("Series", []) if (series := _series(one)) is not None]
    if not found:
        raise NoSuchSeriesError
    return found


def ct_series(series: str) -> Series:
    """A CT series.

    Raises:
        NoSuchSeriesError: There is none with this identifier.
    """
    found = _series(series)
    if found is None:
        raise NoSuchSeriesError
    return found


def _series(series: str) -> Series | None:
    entry = _get(f"/series/{series}")
    tags, instances = entry.get("MainDicomTags", {}), entry.get("Instances", [])
    if tags.get("Modality") != "CT" or not instances:
        return None
    kind = _text(f"/instances/{instances[0]}/metadata/SopClassUid").strip()
    if kind not in CT:  # captures, say
        return None
    study = _get(f"/series/{series}/study").get("MainDicomTags", {})
    return Series(
        series,
        study.get("StudyInstanceUID", ""),
        tags.get("SeriesInstanceUID", ""),
        tags.get("SeriesNumber", ""),
        tuple(instances),
        bool(entry.get("IsStable")),
    )


def pack(series: Series) -> tuple[IO[bytes], int]:
    """The images of a series as a zip archive on disk, numbered, and its size in bytes; the caller closes it."""
    packed = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, instance in enumerate(series.instances):
                archive.writestr(f"{number:06d}", _bytes(f"/instances/{instance}/file"))
        size = packed.tell()
        packed.seek(0)
    except BaseException:
        packed.close()
        raise
    return packed, size


def store(content: bytes) -> str:
    """Stores a DICOM object; Orthanc's identifier of its series. One that is there already stays as it is."""
    instance = json.loads(orthanc.RestApiPost("/instances", content))["ID"]
    return _get(f"/instances/{instance}")["ParentSeries"]


def read_mark(series: Series) -> list[str]:
    """The queries that were asked of a series with the images that it has."""
    mark = _mark(series)
    asked = mark.get("asked") if mark.get("images") == series.images else None
    return [str(one) for one in asked] if isinstance(asked, list) else []


def has_grown(series: Series) -> bool:
    """Whether a series was asked when it had other images."""
    return _mark(series).get("images", series.images) != series.images


def write_mark(series: Series, queries: list[str]) -> None:
    """Notes what was asked of a series with the images that it has."""
    mark = {"images": series.images, "asked": list(dict.fromkeys([*read_mark(series), *queries]))}
    orthanc.RestApiPut(f"/series/{series.id}/metadata/{MARK}", json.dumps(mark).encode())


def _mark(series: Series) -> dict[str, Any]:
    try:
        mark = json.loads(_bytes(f"/series/{series.id}/metadata/{MARK}"))
    except (orthanc.OrthancException, ValueError):  # never asked
        return {}
    return mark if isinstance(mark, dict) else {}


def _bytes(path: str) -> bytes:
    content = orthanc.RestApiGet(path)
    return content if isinstance(content, bytes) else content.encode()


def _text(path: str) -> str:
    return _bytes(path).decode("ascii", "replace")


def _get(path: str) -> dict[str, Any]:
    try:
        return json.loads(_bytes(path))
    except orthanc.OrthancException:
        raise NoSuchSeriesError from None
