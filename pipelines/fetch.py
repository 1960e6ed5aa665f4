"""Fetches a study or a series from an archive."""

from __future__ import annotations

from pathlib import Path

from tips_med.serving.archive import fetch_series
from tips_med.serving.connect import open_archive


def fetch(
    archive: str,
    study: str,
    out: Path,
    series: str | None = None,
    credentials: Path | None = None,
    ca: Path | None = None,
    calling: str = "TIPS_MED",
    receive_port: int | None = None,
    timeout_s: float = 60.0,
) -> str:
    """Fetches a study or a series from an archive.

    Args:
        archive: https://host/dicom-web, or dicom://AETITLE@host:port.
        study: Study Instance UID.
        out: A new or empty folder; it appears when everything is there.
        series: Series Instance UID; the whole study if left out.
        credentials: A file with user:password, or Bearer and a token, for DICOMweb.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        calling: Our AE title, for DIMSE.
        receive_port: For DIMSE, fetch by C-MOVE to this port instead of by C-GET.
        timeout_s: Longest silence in seconds.

    Returns:
        What was fetched, in words.
    """
    opened = open_archive(
        archive, credentials=credentials, ca=ca, calling=calling, receive_port=receive_port, timeout_s=timeout_s
    )
    count = fetch_series(opened, study, out, series)
    return f"{count} images written to {out}"
