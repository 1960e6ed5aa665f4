"""DIMSE archives (PS3.7): C-ECHO, C-FIND, C-GET, C-MOVE and C-STORE through pynetdicom."""

from __future__ import annotations

import logging
import queue
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association

from tips_med.serving.archive import Archive, ArchiveError, SeriesFound, StudyFound

_config.LOG_REQUEST_IDENTIFIERS = False  # identifiers hold patients' names
_config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what matters is raised; its log may quote data sets

VERIFICATION = "1.2.840.10008.1.1"
_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))  # Study Root (PS3.4 C.6.2)
IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
)
RESULT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
)
STORAGE_CLASSES = (*IMAGE_CLASSES, *RESULT_CLASSES)
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    JPEGBaseline8Bit,
)

_SUCCESS = 0x0000
_WARNINGS = (0xB000, 0xB006, 0xB007)
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True)
class Peer:
    """An application entity: its title, host and port."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"dicom://{self.title}@{self.host}:{self.port}"


class DimseArchive(Archive):
    """An archive that is spoken to by DIMSE.

    Args:
        peer: The archive.
        calling: Our own AE title.
        receive_port: Where we receive what C-MOVE sends, under our own AE title, which the archive must know with this
            host and port; None to use C-GET, which needs no such entry.
        receive_host: The address to receive on; loopback unless told otherwise.
        timeout_s: Longest silence.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        calling: str = "TIPS_MED",
        receive_port: int | None = None,
        receive_host: str = "127.0.0.1",
        timeout_s: float = 60.0,
    ) -> None:
        self.peer, self.calling = peer, calling
        self.receive_port, self.receive_host = receive_port, receive_host
        self.timeout_s = timeout_s
        self.address = str(peer)

    def echo(self) -> None:
        """Asks whether the archive is there (C-ECHO).

        Raises:
            ArchiveError: It is not, or does not know us.
        """
        ae = self._entity()
        ae.add_requested_context(VERIFICATION)
        with self._associated(ae) as association:
            self._check(association.send_c_echo(), "C-ECHO")

    def studies(self, modality: str, since: date, most: int) -> list[StudyFound]:
        """See ``Archive``."""
        keys = {"ModalitiesInStudy": modality, "StudyDate": f"{since:%Y%m%d}-"}
        found = self._find("STUDY", keys | {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""})
        return [
            StudyFound(str(item.StudyInstanceUID), int(item.get("NumberOfStudyRelatedInstances") or 0))
            for item in found[:most]
        ]

    def series(self, study_uid: str) -> list[SeriesFound]:
        """See ``Archive``."""
        asked = ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")
        found = self._find("SERIES", {"StudyInstanceUID": study_uid} | dict.fromkeys(asked, ""))
        return [
            SeriesFound(
                str(item.SeriesInstanceUID),
                str(item.get("Modality") or ""),
                str(item.get("SeriesDescription") or ""),
                int(item.get("NumberOfSeriesRelatedInstances") or 0),
            )
            for item in found
        ]

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        """See ``Archive``; asked series by series, as the hierarchical model wants it."""
        if series_uid is not None:
            keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": ""}
            return [str(item.SOPInstanceUID) for item in self._find("IMAGE", keys)]
        series = self._find("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
        return [uid for item in series for uid in self.instances(study_uid, str(item.SeriesInstanceUID))]

    def retrieve(self, study_uid: str, series_uid: str | None = None) -> Iterator[Dataset]:
        """See ``Archive``; instances are handed on while more arrive, and no more than a few wait in memory."""
        wanted = _identifier("SERIES" if series_uid else "STUDY", {"StudyInstanceUID": study_uid})
        if series_uid:
            wanted.SeriesInstanceUID = series_uid
        arrived: queue.Queue[Dataset | ArchiveError | None] = queue.Queue(maxsize=8)

        def receive(event: Any) -> int:
            instance = event.dataset
            instance.file_meta = event.file_meta
            arrived.put(instance)
            return _SUCCESS

        def work() -> None:
            try:
                (self._move if self.receive_port is not None else self._get)(wanted, [(evt.EVT_C_STORE, receive)])
                arrived.put(None)
            except ArchiveError as error:
                arrived.put(error)

        Thread(target=work, daemon=True, name="tips-med-retrieve").start()
        while (item := arrived.get()) is not None:
            if isinstance(item, ArchiveError):
                raise item
            yield item

    def store(self, files: Sequence[Path]) -> None:
        """See ``Archive``."""
        ae = self._entity()
        for context in sorted({_class_and_syntax(file) for file in files}):
            ae.add_requested_context(*context)
        with self._associated(ae) as association, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd values that were the source's
            for done, file in enumerate(files):
                try:
                    status = association.send_c_store(pydicom.dcmread(file))
                except (ValueError, RuntimeError) as error:
                    raise self._not_stored(done, len(files), "it does not accept this kind of object") from error
                if status.get("Status") not in (_SUCCESS, *_WARNINGS):
                    reason = f"status 0x{status.Status:04X}" if "Status" in status else "the association was lost"
                    raise self._not_stored(done, len(files), reason)

    def _not_stored(self, done: int, total: int, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{self.address} stored {done} of {total} objects ({reason})",
            remedy="look at the archive's log for the reason",
            code="not-stored",
        )

    def _find(self, level: str, keys: dict[str, str]) -> list[Dataset]:
        ae = self._entity()
        ae.add_requested_context(_FIND)
        found = []
        with self._associated(ae) as association:
            asked = _identifier(level, keys)
            for status, item in association.send_c_find(asked, _FIND):
                if status.get("Status") in _PENDING and item is not None:
                    found.append(item)
                else:
                    self._check(status, "C-FIND")
        return found

    def _get(self, wanted: Dataset, handlers: list[Any]) -> None:
        ae = self._entity()
        ae.add_requested_context(_GET)
        for sop_class in STORAGE_CLASSES:
            ae.add_requested_context(sop_class, list(SYNTAXES))
        roles = [build_role(sop_class, scp_role=True) for sop_class in STORAGE_CLASSES]
        with self._associated(ae, ext_neg=roles, evt_handlers=handlers) as association:
            for status, _ in association.send_c_get(wanted, _GET):
                if status.get("Status") not in _PENDING:
                    self._check(status, "C-GET")

    def _move(self, wanted: Dataset, handlers: list[Any]) -> None:
        ae = self._entity()
        ae.add_requested_context(_MOVE)
        for sop_class in STORAGE_CLASSES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        ae.require_called_aet = True
        ae.require_calling_aet = [self.peer.title]
        try:
            server: Any = ae.start_server(
                (self.receive_host, self.receive_port or 0), block=False, evt_handlers=handlers
            )
        except OSError as error:
            raise ArchiveError(
                f"port {self.receive_port} cannot be listened on ({error.strerror or error})",
                remedy="choose another with --receive-port",
                code="port",
            ) from error
        try:
            with self._associated(ae) as association:
                for status, _ in association.send_c_move(wanted, self.calling, _MOVE):
                    if status.get("Status") not in _PENDING:
                        self._check(status, "C-MOVE")
        finally:
            server.shutdown()

    def _entity(self) -> AE:
        ae = AE(ae_title=self.calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.timeout_s
        ae.connection_timeout = min(self.timeout_s, 20.0)
        return ae

    @contextmanager
    def _associated(self, ae: AE, **options: Any) -> Iterator[Association]:
        association = ae.associate(self.peer.host, self.peer.port, ae_title=self.peer.title, **options)
        try:
            if association.is_rejected:
                raise ArchiveError(
                    f"{self.address} rejects {self.calling}",
                    remedy="check both AE titles, and that the archive knows ours",
                    code="refused",
                )
            if not association.is_established:
                raise ArchiveError(
                    f"{self.address} cannot be reached",
                    remedy="check the address, and that the archive is up",
                    code="unreachable",
                )
            yield association
        finally:
            if association.is_established:
                association.release()

    def _check(self, status: Dataset, service: str) -> None:
        code = status.get("Status")
        if code is None:
            raise ArchiveError(f"{self.address} broke off during {service}", remedy="try again", code="unreachable")
        if code != _SUCCESS:
            raise ArchiveError(
                f"{self.address} answered {service} with status 0x{code:04X}",
                remedy="look at the archive's log for the reason",
                code="refused",
            )


def _identifier(level: str, keys: dict[str, str]) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def _class_and_syntax(file: Path) -> tuple[str, str]:
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)
