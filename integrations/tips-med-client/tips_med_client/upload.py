"""A scan as the body of an upload."""

from __future__ import annotations

import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from tips_med_client.volume import Volume, write_nifti


def open_upload(scan: str | Path | Volume) -> BinaryIO:
    """A file to send: a NIfTI file or a zip archive as it is, a folder of DICOM files packed into one, voxels as NIfTI.

    Files in the archive are numbered: their names, which often name the patient, stay here.

    Raises:
        OSError: It cannot be read.
        ValueError: The voxels are of a type that NIfTI-1 does not have.
    """
    if isinstance(scan, Volume):
        return BytesIO(write_nifti(scan))
    path = Path(scan)
    if not path.is_dir():
        return path.open("rb")
    packed = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, file in enumerate(sorted(one for one in path.rglob("*") if one.is_file())):
            archive.write(file, f"{number:06d}")
    packed.seek(0)
    return packed  # type: ignore[return-value]
