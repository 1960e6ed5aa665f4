"""Takes in images by C-STORE (PS3.4 Annex B); success is answered only when an image is safe on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt

from tips_med.errors import ConfigError, OutputError
from tips_med.serving.archive import ArchiveError
from tips_med.serving.bounds import Bounds
from tips_med.serving.classes import IMAGE_CLASSES, SYNTAXES, VERIFICATION
from tips_med.serving.intake import look_at
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger
from tips_med.serving.quiet import quiet_dimse
from tips_med.serving.spool import spooling

logger = logging.getLogger(__name__)

_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA700, 0xC000


def safe_name(uid: str) -> str:
    """A name on disk for a UID, which may be any text of a peer."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


class Receiver:
    """A storage service class provider.

    An object goes to disk while it comes; its sender gets the status at its end.

    Args:
        incoming: Folder for received studies; ``arriving`` beside it holds what is still coming.
        ledger: Ledger of studies.
        audit: Audit log, for refusals.
        title: Our AE title; calls to another are rejected.
        callers: AE titles that may call; others are rejected.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        bounds: Limits on size and disk.
        max_associations: Maximum number of simultaneous associations.
    """

    def __init__(
        self,
        incoming: Path,
        ledger: Ledger,
        audit: Audit,
        *,
        title: str,
        callers: Sequence[str],
        host: str = "127.0.0.1",
        port: int = 0,
        bounds: Bounds | None = None,
        max_associations: int = 8,
    ) -> None:
        self.incoming, self.ledger, self.audit = incoming, ledger, audit
        self.bounds = bounds or Bounds()
        arriving = incoming.parent / "arriving"
        shutil.rmtree(arriving, ignore_errors=True)  # what a crash left; its senders send it again
        arriving.mkdir(mode=0o700)
        ae = AE(ae_title=title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(callers)
        ae.maximum_associations = max_associations
        ae.network_timeout = ae.dimse_timeout = 60.0
        ae.acse_timeout = 10.0  # a peer that connects and sends nothing valid blocks others no longer
        ae.add_supported_context(VERIFICATION)
        for sop_class in IMAGE_CLASSES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        handlers = [
            *spooling(arriving, self.bounds),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        with ExitStack() as opened:
            opened.enter_context(quiet_dimse())
            try:
                server: Any = ae.start_server((host, port), block=False, evt_handlers=handlers)
            except OSError as error:
                raise ConfigError(
                    f"{host}:{port} cannot be listened on ({error.strerror or error})",
                    remedy="choose another port, or end what uses it",
                    code="port",
                ) from error
            opened.callback(server.shutdown)
            self._opened, self._server = opened.pop_all(), server
        self.port = int(self._server.server_address[1])

    def close(self) -> None:
        """Ends listening; associations are aborted, and their senders know that they were."""
        self._opened.close()

    def _rejected(self, event: Any) -> None:
        self.audit.note("association-rejected")

    def _store(self, event: Any) -> int:
        """Answers one C-STORE; whatever goes wrong, the sender keeps the image."""
        try:
            self._take_in(event)
            return 0x0000
        except OutputError as error:
            logger.warning("an object was not taken (%s)", error.code)
            self._note(error.code)
            return _OUT_OF_RESOURCES if error.code in ("too-large", "no-room") else _CANNOT_UNDERSTAND
        except (OSError, sqlite3.Error) as error:
            logger.error("an image cannot be written (%s)", type(error).__name__)
            self._note("not-written", reason=type(error).__name__)
            return _OUT_OF_RESOURCES
        except Exception as error:  # pydicom raises whatever damaged bytes lead it to
            reason = error.code if isinstance(error, ArchiveError) else type(error).__name__
            logger.warning("an object was refused (%s)", reason)
            self._note("refused", reason=reason)
            return _CANNOT_UNDERSTAND

    def _note(self, event: str, **details: str) -> None:
        with suppress(OSError):  # the audit log lies on the same disk
            self.audit.note(event, **details)

    def _take_in(self, event: Any) -> None:
        file = event.request.DataSet.take()
        try:
            received = look_at(file, self.bounds)
            key, name = safe_name(received.study_uid), safe_name(received.sop_uid) + ".dcm"
            if not self.ledger.knows(name):
                folder = self.incoming / key
                folder.mkdir(exist_ok=True)
                file.replace(folder / name)
                sync_folder(folder)
                self.ledger.add(key, received.study_uid, name)
        finally:
            file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
