"""A scan as the body of an upload."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO


def open_upload(path: str | Path) -> BinaryIO:
    """A file to send: a NIfTI file or a zip archive as it is, a folder of DICOM files packed into one.

    Files in the archive are numbered: their names, which often name the patient, stay here.

    Raises:
        OSError: It cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return path.open("rb")
    packed = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, file in enumerate(sorted(one for one in path.rglob("*") if one.is_file())):
            archive.write(file, f"{number:06d}")
    packed.seek(0)
    return packed  # type: ignore[return-value]
