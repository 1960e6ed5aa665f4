"""DIMSE archives (PS3.7): C-ECHO, C-FIND, C-GET, C-MOVE and C-STORE through pynetdicom."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association

from tips_med.errors import ConfigError
from tips_med.serving.archive import Archive, ArchiveError, MoveDestination, SeriesFound, StudyFound
from tips_med.serving.bounds import Bounds
from tips_med.serving.classes import IMAGE_CLASSES, RESULT_CLASSES, STORAGE_CLASSES, SYNTAXES, VERIFICATION
from tips_med.serving.quiet import quiet_dimse
from tips_med.serving.retrieval import Retrieval
from tips_med.serving.spool import spooling

__all__ = ["IMAGE_CLASSES", "RESULT_CLASSES", "STORAGE_CLASSES", "SYNTAXES", "VERIFICATION", "DimseArchive", "Peer"]

_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))  # Study Root (PS3.4 C.6.2)
_SERVICES = {VERIFICATION: "C-ECHO", _FIND: "C-FIND", _MOVE: "C-MOVE", _GET: "C-GET"}
_SUCCESS = 0x0000
_WARNINGS = (0xB000, 0xB006, 0xB007)
_PENDING = (0xFF00, 0xFF01)
_SOME_FAILED = 0xB000
_UNKNOWN_DESTINATION = 0xA801
_MOST_FOUND = 1_000_000


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
        peer: Archive to connect to.
        calling: Our own AE title.
        receive: Receiver of C-MOVE; None to use C-GET, which needs no entry in the archive, but many archives do not
            support.
        timeout_s: Timeout in seconds without any data.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        calling: str = "TIPS_MED",
        receive: MoveDestination | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.peer, self.calling, self.receive = peer, calling, receive
        self.timeout_s = timeout_s
        self.address = str(peer)

    def echo(self) -> None:
        """Checks that the archive answers (C-ECHO).

        Raises:
            ArchiveError: It is not, or does not know us.
        """
        ae = self._entity()
        ae.add_requested_context(VERIFICATION)
        with self._associated(ae, VERIFICATION) as association:
            self._check(association.send_c_echo(), "C-ECHO")

    def studies(self, modality: str, since: date, max_studies: int) -> list[StudyFound]:
        """See ``Archive``."""
        keys = {"ModalitiesInStudy": modality, "StudyDate": f"{since:%Y%m%d}-"}
        found = self._find("STUDY", keys | {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""}, max_studies)
        return [
            StudyFound(_text(item, "StudyInstanceUID"), _number(item, "NumberOfStudyRelatedInstances"))
            for item in found
        ]

    def series(self, study_uid: str) -> list[SeriesFound]:
        """See ``Archive``."""
        keys_wanted = ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")
        found = self._find("SERIES", {"StudyInstanceUID": study_uid} | dict.fromkeys(keys_wanted, ""))
        return [
            SeriesFound(
                _text(item, keys_wanted[0]),
                _text(item, keys_wanted[1]),
                _text(item, keys_wanted[2]),
                _number(item, keys_wanted[3]),
            )
            for item in found
        ]

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        """See ``Archive``; queried series by series, as the hierarchical model requires."""
        if series_uid is not None:
            keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": ""}
            return [uid for item in self._find("IMAGE", keys) if (uid := _text(item, "SOPInstanceUID"))]
        series = self._find("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
        found = [uid for item in series if (uid := _text(item, "SeriesInstanceUID"))]
        return [instance for uid in found for instance in self.instances(study_uid, uid)]

    def retrieve(
        self, study_uid: str, folder: Path, series_uid: str | None = None, bounds: Bounds | None = None
    ) -> Iterator[Path]:
        """See ``Archive``; by C-MOVE where there is a destination, else by C-GET."""
        wanted = _identifier("SERIES" if series_uid else "STUDY", {"StudyInstanceUID": study_uid})
        if series_uid:
            wanted.SeriesInstanceUID = series_uid

        def talk(retrieval: Retrieval) -> None:
            if self.receive is None:
                self._get(wanted, retrieval)
            else:
                self._move(wanted, retrieval, self.receive)

        retrieval = Retrieval(folder, bounds or Bounds(), self.timeout_s)
        yield from retrieval.files(talk, self.address)

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

    def _find(self, level: str, keys: dict[str, str], max_matches: int = _MOST_FOUND) -> list[Dataset]:
        ae = self._entity()
        ae.add_requested_context(_FIND)
        found: list[Dataset] = []
        with self._associated(ae, _FIND) as association:
            for status, item in association.send_c_find(_identifier(level, keys), _FIND):
                if status.get("Status") not in _PENDING:
                    self._check(status, "C-FIND")
                elif item is None:
                    raise ArchiveError(
                        f"{self.address} answered C-FIND with what is no DICOM",
                        remedy="look at the archive's log for the reason",
                        code="not-dicom",
                    )
                elif len(found) < max_matches:
                    found.append(item)
                else:
                    association.abort()  # the rest of the answers is not needed
                    break
        return found

    def _get(self, wanted: Dataset, retrieval: Retrieval) -> None:
        ae = self._entity()
        ae.add_requested_context(_GET)
        for sop_class in STORAGE_CLASSES:
            ae.add_requested_context(sop_class, list(SYNTAXES))
        roles = [build_role(sop_class, scp_role=True) for sop_class in STORAGE_CLASSES]
        with self._associated(ae, _GET, retrieval, ext_neg=roles) as association:
            for status, _ in association.send_c_get(wanted, _GET):
                if status.get("Status") not in _PENDING:
                    self._check(status, "C-GET")

    def _move(self, wanted: Dataset, retrieval: Retrieval, receive: MoveDestination) -> None:
        title = receive.title or self.calling
        with ExitStack() as opened:
            server = self._listen(retrieval, receive, title)
            opened.callback(server.shutdown)
            ae = self._entity()
            ae.add_requested_context(_MOVE)
            association = opened.enter_context(self._associated(ae, _MOVE, retrieval))
            for status, _ in association.send_c_move(wanted, title, _MOVE):
                if status.get("Status") not in _PENDING:
                    self._check_moved(status, retrieval, receive, title)

    def _listen(self, retrieval: Retrieval, receive: MoveDestination, title: str) -> Any:
        ae = AE(ae_title=title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.timeout_s
        for sop_class in (VERIFICATION, *STORAGE_CLASSES):
            ae.add_supported_context(sop_class, list(SYNTAXES))
        ae.require_called_aet = True
        ae.require_calling_aet = list(receive.senders) or [self.peer.title]
        try:
            server: Any = ae.start_server((receive.host, receive.port), block=False, evt_handlers=retrieval.handlers)
        except OSError as error:
            raise ConfigError(
                f"{receive.host}:{receive.port} cannot be listened on ({error.strerror or error})",
                expected="an address of this machine, and a port that nothing listens on",
                remedy="choose others with --receive-host and --receive-port (for a node, settings.poll.receive)",
                code="port",
            ) from error
        retrieval.ending(server.shutdown)
        return server

    def _check_moved(self, status: Dataset, retrieval: Retrieval, receive: MoveDestination, title: str) -> None:
        """The result of a C-MOVE in words, with the side to check."""
        here = f"{title} at port {receive.port} of this machine (it listens on {receive.host})"
        if retrieval.turned_away and not retrieval.received:
            calling, called = retrieval.turned_away[0]
            senders = ", ".join(receive.senders) or self.peer.title
            raise ArchiveError(
                f"{calling!r} called {called!r} to send, and was not let in",
                expected=f"{senders} to call {title}",
                remedy="name who sends with --receive-from (for a node, settings.poll.receive.senders)",
                code="refused",
            )
        if status.get("Status") == _UNKNOWN_DESTINATION:
            raise ArchiveError(
                f"{self.address} does not know {title} as a place to send to, or cannot reach it",
                remedy=f"enter in the archive's configuration {here}, and let no firewall be between",
                code="refused",
            )
        completed = int(status.get("NumberOfCompletedSuboperations") or 0)
        if not retrieval.received and (completed or status.get("Status") not in (_SUCCESS, None)):
            raise ArchiveError(
                f"{self.address} has taken the request (status 0x{status.get('Status', 0):04X}), and nothing came to "
                f"{title}",
                remedy=f"check that the archive has {here}, and that no firewall is between",
                code="refused",
            )
        self._check(status, "C-MOVE")

    def _entity(self) -> AE:
        ae = AE(ae_title=self.calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self.timeout_s
        ae.connection_timeout = min(self.timeout_s, 20.0)
        return ae

    @contextmanager
    def _associated(
        self, ae: AE, service: str | None = None, retrieval: Retrieval | None = None, **options: Any
    ) -> Iterator[Association]:
        """An association, by which a service is accepted; it is released in the end, or aborted after an error."""
        handlers = spooling(None, Bounds()) if retrieval is None else retrieval.handlers
        if retrieval is not None:
            ae.dimse_timeout = ae.network_timeout = None  # the retrieval knows what was heard on any association
        with quiet_dimse():
            association = ae.associate(
                self.peer.host, self.peer.port, ae_title=self.peer.title, evt_handlers=handlers, **options
            )
            if retrieval is not None:
                retrieval.ending(lambda: _abort(association))
            try:
                self._check_association(association, service)
                yield association
            except BaseException:
                _abort(association)
                raise
            finally:
                if association.is_established:
                    association.release()

    def _check_association(self, association: Association, service: str | None) -> None:
        if association.is_rejected:
            raise ArchiveError(
                f"{self.address} rejects {self.calling}",
                remedy="check both AE titles, and that the archive knows ours",
                code="refused",
            )
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        if (association.is_established and service not in (None, *accepted)) or (
            not accepted and association.rejected_contexts
        ):
            name = _SERVICES.get(service or "", "what is to be stored")
            by_move = "fetch by C-MOVE: name a port with --receive-port (for a node, settings.poll.receive)"
            raise ArchiveError(
                f"{self.address} does not accept {name}",
                remedy=by_move if service == _GET else "look at what the archive allows us",
                code="not-accepted",
            )
        if not association.is_established:
            raise ArchiveError(
                f"{self.address} cannot be reached",
                remedy="check the address, and that the archive is up",
                code="unreachable",
            )

    def _check(self, status: Dataset, service: str) -> None:
        code = status.get("Status")
        if code is None:
            raise ArchiveError(f"{self.address} broke off during {service}", remedy="try again", code="unreachable")
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if code == _SOME_FAILED and failed:
            raise ArchiveError(
                f"{self.address} could not send {failed} of the objects",
                remedy="fetch the series of images alone, or look at the archive's log for the reason",
                code="incomplete",
            )
        if code not in (_SUCCESS, _SOME_FAILED):
            raise ArchiveError(
                f"{self.address} answered {service} with status 0x{code:04X}",
                remedy="look at the archive's log for the reason",
                code="refused",
            )


def _abort(association: Association) -> None:
    """Ends an association that is of no more use; who waits for an answer of it stops waiting."""
    if association.is_established:
        association.abort()
    association.dimse.msg_queue.put((None, None))  # type: ignore[arg-type]


def _identifier(level: str, keys: dict[str, str]) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def _text(item: Dataset, keyword: str) -> str:
    """A value of what an archive has found; empty where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(item.get(keyword) or "")
    except Exception:  # pydicom raises whatever damaged bytes lead it to
        return ""


def _number(item: Dataset, keyword: str) -> int:
    text = _text(item, keyword)
    return int(text) if text.isdecimal() else 0


def _class_and_syntax(file: Path) -> tuple[str, str]:
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)
