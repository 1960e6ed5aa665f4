"""Sends DICOM results to an archive."""

from __future__ import annotations

from pathlib import Path

from tips_med.serving.archive import dicom_objects
from tips_med.serving.connect import open_archive


def send(
    results: str,
    archive: str,
    credentials: Path | None = None,
    ca: Path | None = None,
    calling: str = "TIPS_MED",
    timeout_s: float = 60.0,
    plain_http_credentials: bool = False,
) -> str:
    """Sends DICOM results to an archive.

    Args:
        results: Folder that ground --dicom wrote, or one DICOM file.
        archive: Address of the archive: https://host/dicom-web, or dicom://AETITLE@host:port.
        credentials: File with user:password, or Bearer and a token, for DICOMweb.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        calling: Our AE title, for DIMSE.
        timeout_s: Timeout in seconds without any data.
        plain_http_credentials: Send credentials over plain http too, where others on the network can read them.

    Returns:
        A summary of what was sent, in words.
    """
    files = dicom_objects([Path(results)])
    with open_archive(
        archive,
        credentials=credentials,
        ca=ca,
        calling=calling,
        timeout_s=timeout_s,
        plain_http_credentials=plain_http_credentials,
    ) as opened:
        opened.store(files)
    return f"{len(files)} objects sent to {opened.address}"
