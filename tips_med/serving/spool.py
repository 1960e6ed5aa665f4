"""Objects that come by C-STORE go to disk fragment by fragment; no more than one fragment is in memory.

DIMSE does not announce the size of an object, so its size is known only while it comes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.pdu import P_DATA_TF

from tips_med.errors import OutputError
from tips_med.serving.bounds import Bounds, Incoming

_MAX_PDU_BYTES = 1 << 20
"""We announce a maximum PDU size of 16 KiB; only the request of an association may be longer."""

_MAX_OTHER_BYTES = 16 << 20
"""Of identifiers, and of everything else that is no object to be stored."""


class Spool(BytesIO):
    """Stands for the bytes of a message's data set: those of a C-STORE go to a file.

    What is wrong is raised by ``take``, so that the peer gets the status at the end of its object; what comes after
    that is dropped. A file that nobody takes is gone when this is.

    Args:
        message: Message of the data set.
        association: Association that it comes on.
        folder: Folder for the files; None where nothing may be stored.
        bounds: Limits on size and disk.
    """

    def __init__(self, message: DIMSEMessage, association: Any, folder: Path | None, bounds: Bounds) -> None:
        super().__init__()
        self._message, self._association = message, association
        self._folder, self._bounds = folder, bounds
        self._file: Incoming | None = None
        self._wrong: Exception | None = None

    @property
    def size(self) -> int:
        """Bytes that were written to disk."""
        return self._file.size if self._file is not None else 0

    def write(self, data: Any) -> int:
        """Takes a fragment."""
        if not isinstance(self._message, C_STORE_RQ):
            if self.tell() + len(data) > _MAX_OTHER_BYTES:
                raise ValueError("a message is too long")  # pynetdicom aborts the association
            return super().write(data)
        if self._wrong is None:
            try:
                if self._folder is None:
                    raise OutputError("an object came that was not requested", code="not-asked-for")
                if self._file is None:
                    self._file = Incoming(self._folder / f"{os.urandom(8).hex()}.part", self._bounds)
                    self._file.write(self._beginning())
                self._file.write(data)
            except (OutputError, OSError) as error:
                self._wrong = error
                self._drop()
        return len(data)

    def take(self) -> Path:
        """The file, whole and on disk; it is the caller's now.

        Raises:
            OutputError: ``too-large``, ``no-room`` or ``not-asked-for``.
            OSError: It could not be written.
        """
        if self._wrong is not None:
            raise self._wrong
        if self._file is None:
            raise OutputError("an object without content came", code="not-dicom")
        taken, self._file = self._file, None
        return taken.finish()

    def close(self) -> None:
        """Drops what was not taken; called at the latest when nobody refers to it any more."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        file, self._file = getattr(self, "_file", None), None
        if file is not None:
            file.discard()

    def _beginning(self) -> bytes:
        """Preamble and file meta information (PS3.10)."""
        command = self._message.command_set
        context = next(c for c in self._association.accepted_contexts if c.context_id == self._message.context_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about UIDs that are none; the object's own are checked later
            meta = create_file_meta(
                sop_class_uid=command.AffectedSOPClassUID,
                sop_instance_uid=command.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
            )
            return bytes(128) + b"DICM" + encode_file_meta(meta)


def spooling(folder: Path | None, bounds: Bounds, heard: Callable[[], None] = lambda: None) -> list[Any]:
    """Event handlers for an association or a server of pynetdicom, which bound all that comes by it.

    Args:
        folder: Folder for the objects; None where nothing may be stored.
        bounds: Limits on size and disk.
        heard: Called whenever data from the peer arrive.
    """

    def open_spool(event: Any) -> None:
        heard()
        dimse = event.assoc.dimse
        if isinstance(event.pdu, P_DATA_TF) and dimse.message is None:
            message = DIMSEMessage()
            message.data_set = Spool(message, event.assoc, folder, bounds)
            dimse.message = message

    return [(evt.EVT_CONN_OPEN, _bound_pdus), (evt.EVT_PDU_RECV, open_spool)]


def _bound_pdus(event: Any) -> None:
    """A PDU states its length, up to 4 GiB; pynetdicom would wait for that and keep it in memory."""
    socket = event.assoc.dul.socket
    receive = socket.recv

    def bounded(count: int) -> bytearray:
        if count > _MAX_PDU_BYTES:
            raise OSError("a PDU is too long")
        return receive(count)

    socket.recv = bounded
