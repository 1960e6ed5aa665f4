"""Archives: where scans are fetched from, and where results are sent to."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset

from tips_med.errors import OutputError, TipsMedError
from tips_med.folders import new_folder

_UID = re.compile(r"[0-9.]{1,64}")


class ArchiveError(TipsMedError):
    """An archive that cannot be reached, or that refuses."""

    code = "archive"


@dataclass(frozen=True)
class StudyFound:
    """A study of an archive: its UID and how many instances of all kinds it has (0 when the archive does not say)."""

    uid: str
    instances: int


@dataclass(frozen=True)
class SeriesFound:
    """A series of an archive; what the archive does not say is empty or 0."""

    uid: str
    modality: str
    description: str
    instances: int


class Archive(ABC):
    """An archive, by whatever protocol.

    Attributes:
        address: For messages; it holds no credentials.
    """

    address: str

    @abstractmethod
    def studies(self, modality: str, since: date, most: int) -> list[StudyFound]:
        """Studies with a series of a modality, by Study Date from a day on; no more than ``most``.

        Raises:
            ArchiveError: ``unreachable`` or ``refused``.
        """

    @abstractmethod
    def series(self, study_uid: str) -> list[SeriesFound]:
        """Series of a study; none when the archive does not have it.

        Raises:
            ArchiveError: ``unreachable`` or ``refused``.
        """

    @abstractmethod
    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        """SOP Instance UIDs that the archive has of a study, or of one series of it; empty when it has none.

        Raises:
            ArchiveError: ``unreachable`` or ``refused``.
        """

    @abstractmethod
    def retrieve(self, study_uid: str, series_uid: str | None = None) -> Iterator[Dataset]:
        """The instances themselves, one at a time, each with its file meta information.

        Raises:
            ArchiveError: ``unreachable``, ``refused`` or ``incomplete``.
        """

    @abstractmethod
    def store(self, files: Sequence[Path]) -> None:
        """Sends DICOM files, in the order given. What the archive has already it takes again without harm.

        Raises:
            ArchiveError: ``unreachable``, ``refused`` or ``not-stored`` (it took some and not others).
        """


def fetch_series(archive: Archive, study_uid: str, out: Path, series_uid: str | None = None) -> int:
    """Fetches a study, or one series, into a folder: whole or not at all.

    Files are numbered; no name that a peer chose reaches the file system.

    Args:
        archive: Where it is.
        study_uid: Study Instance UID.
        out: A folder that does not exist yet, or is empty.
        series_uid: Series Instance UID; the whole study when None.

    Returns:
        How many instances were fetched.

    Raises:
        ArchiveError: ``bad-uid``, ``no-such-study``, ``incomplete``, or what the archive raises.
        OutputError: The folder cannot be written to.
    """
    for uid in (study_uid, series_uid):
        if uid is not None and not _UID.fullmatch(uid):
            raise ArchiveError(f"{uid!r} is no UID", expected="digits and dots, at most 64", code="bad-uid")
    expected = set(archive.instances(study_uid, series_uid))
    if not expected:
        raise ArchiveError(
            f"{archive.address} has no {'series' if series_uid else 'study'} {series_uid or study_uid}",
            remedy="check the UIDs, and that the archive has received it",
            code="no-such-study",
        )
    with new_folder(out) as folder:
        got = set()
        for instance in archive.retrieve(study_uid, series_uid):
            uid = str(instance.SOPInstanceUID)
            if uid in got:
                continue
            got.add(uid)
            instance.save_as(folder / f"{len(got):06d}.dcm", enforce_file_format=True)
        if expected - got:
            raise ArchiveError(
                f"{archive.address} sent {len(got & expected)} of {len(expected)} instances",
                remedy="try again; if it stays so, look at the archive's log",
                code="incomplete",
            )
    return len(got)


def dicom_objects(paths: Iterable[Path]) -> list[Path]:
    """The DICOM files (``.dcm``) under some paths, those that others refer to first.

    Raises:
        OutputError: ``nothing-to-send``.
    """
    order = {"seg.dcm": 0, "key_image.dcm": 1}
    named = list(paths)
    files = [file for path in named for file in (sorted(path.rglob("*.dcm")) if path.is_dir() else [path])]
    files = [file for file in files if file.is_file()]
    if not files:
        raise OutputError(
            "holds no DICOM results",
            path=named[0] if named else None,
            expected="files that end in .dcm",
            remedy="make them with tips-med ground --dicom",
            code="nothing-to-send",
        )
    return sorted(files, key=lambda file: order.get(file.name, 2))
