"""Archives: where scans are fetched from, and where results are sent to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tips_med.errors import OutputError, TipsMedError
from tips_med.serving.bounds import Bounds


class ArchiveError(TipsMedError):
    """An archive that cannot be reached, or that refuses."""

    code = "archive"


@dataclass(frozen=True)
class StudyFound:
    """A study of an archive: its UID and its number of instances of all kinds (0 when not reported)."""

    uid: str
    instances: int


@dataclass(frozen=True)
class SeriesFound:
    """A series of an archive; what the archive does not report is empty or 0."""

    uid: str
    modality: str
    description: str
    instances: int


@dataclass(frozen=True)
class MoveDestination:
    """The application entity of ours that C-MOVE sends to: the archive must know its title, host and port.

    Attributes:
        port: Port to listen on during a fetch.
        host: Address to listen on, loopback by default. 0.0.0.0 listens on all.
        title: AE title that the archive knows with this host and port; our own when None.
        senders: AE titles that may send; the archive's own when there are none.
    """

    port: int
    host: str = "127.0.0.1"
    title: str | None = None
    senders: Sequence[str] = ()


class Archive(ABC):
    """An archive, by whatever protocol.

    Attributes:
        address: Address of the archive, for messages; without credentials.
    """

    address: str

    def close(self) -> None:  # noqa: B027 (most archives keep no connection)
        """Ends connections that are kept for further requests; also at the end of a ``with``."""

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @abstractmethod
    def studies(self, modality: str, since: date, max_studies: int) -> list[StudyFound]:
        """Studies with a series of a modality, by Study Date from a day on; no more than ``max_studies``.

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
    def retrieve(
        self, study_uid: str, folder: Path, series_uid: str | None = None, bounds: Bounds | None = None
    ) -> Iterator[Path]:
        """The instances themselves, each a DICOM file in a folder, one by one as they come.

        Nothing larger than the bounds is kept, nor held in memory. What the files hold is not checked here:
        ``tips_med.serving.intake.take_in`` does that. An iterator that is closed early ends all that it began.

        Args:
            study_uid: Study Instance UID.
            folder: Existing folder for the files, which get names of ours.
            series_uid: Series Instance UID; the whole study when None.
            bounds: Limits on size and disk; those of ``Bounds()`` when None.

        Raises:
            ArchiveError: ``unreachable``, ``refused``, ``not-accepted`` or ``incomplete``.
            OutputError: ``too-large`` or ``no-room``.
        """

    @abstractmethod
    def store(self, files: Sequence[Path]) -> None:
        """Sends DICOM files, in the order given. Sending an object again that the archive has is harmless.

        Raises:
            ArchiveError: ``unreachable``, ``refused`` or ``not-stored`` (it took some and not others).
        """


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
