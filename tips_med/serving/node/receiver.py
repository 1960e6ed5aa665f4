"""Takes in images by C-STORE (PS3.4 Annex B); success is answered only when an image is safe on disk."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import shutil
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, evt

from tips_med.errors import ConfigError
from tips_med.serving.dimse import IMAGE_CLASSES, SYNTAXES, VERIFICATION
from tips_med.serving.node.audit import Audit
from tips_med.serving.node.ledger import Ledger

logger = logging.getLogger(__name__)

_UID = re.compile(r"[0-9.]{1,64}")
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA700, 0xC000


def safe_name(uid: str) -> str:
    """A name on disk for a UID, which may be anything that a peer has made up."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


class Receiver:
    """A storage service class provider.

    Args:
        incoming: Folder that studies are put in.
        ledger: Where they are entered.
        audit: Where refusals are noted.
        title: Our AE title; calls to another are rejected.
        callers: AE titles that may call; nobody else is let in.
        host: Address to listen on.
        port: 0 for any that is free.
        max_instance_bytes: Larger objects are refused.
        min_free_bytes: Nothing is taken in when less is free on the disk.
        max_associations: At once.
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
        max_instance_bytes: int = 2 << 30,
        min_free_bytes: int = 1 << 30,
        max_associations: int = 8,
    ) -> None:
        self.incoming, self.ledger, self.audit = incoming, ledger, audit
        self.max_instance_bytes, self.min_free_bytes = max_instance_bytes, min_free_bytes
        ae = AE(ae_title=title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(callers)
        ae.maximum_associations = max_associations
        ae.network_timeout = ae.dimse_timeout = ae.acse_timeout = 60.0
        ae.add_supported_context(VERIFICATION)
        for sop_class in IMAGE_CLASSES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._rejected)]
        try:
            self._server: Any = ae.start_server((host, port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror or error})",
                remedy="choose another port, or end what uses it",
                code="port",
            ) from error
        self.port = int(self._server.server_address[1])

    def close(self) -> None:
        """Ends listening; associations are aborted, and their senders know that they were."""
        self._server.shutdown()

    def _rejected(self, event: Any) -> None:
        self.audit.note("association-rejected")

    def _store(self, event: Any) -> int:
        """Answers one C-STORE; whatever goes wrong, the sender keeps the image."""
        try:
            return self._take_in(event)
        except (OSError, sqlite3.Error) as error:
            logger.error("an image cannot be written (%s)", type(error).__name__)
            with suppress(OSError):  # the audit log lies on the same disk
                self.audit.note("not-written", reason=type(error).__name__)
            return _OUT_OF_RESOURCES
        except Exception as error:  # pydicom raises whatever damaged bytes lead it to
            logger.warning("an object was refused (%s)", type(error).__name__)
            with suppress(OSError):
                self.audit.note("refused", reason=type(error).__name__)
            return _CANNOT_UNDERSTAND

    def _take_in(self, event: Any) -> int:
        size = event.request.DataSet.getbuffer().nbytes
        if size > self.max_instance_bytes or shutil.disk_usage(self.incoming).free - size < self.min_free_bytes:
            self.audit.note("no-room", size=size)
            return _OUT_OF_RESOURCES
        content = event.encoded_dataset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                io.BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"]
            )
            study, instance = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        if not _UID.fullmatch(study) or not _UID.fullmatch(instance):
            self.audit.note("refused", reason="bad-uid")
            return _CANNOT_UNDERSTAND
        key, name = safe_name(study), safe_name(instance) + ".dcm"
        if not self.ledger.knows(name):
            folder = self.incoming / key
            folder.mkdir(exist_ok=True)
            write_safely(folder / name, content)
            self.ledger.add(key, study, name)
        return 0x0000


def write_safely(path: Path, content: bytes) -> None:
    """Writes a file that is whole or not there, whatever happens to the machine."""
    partial = path.with_suffix(f".part{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
