"""Fetches a study or a series from an archive."""

from __future__ import annotations

from pathlib import Path

from tips_med.serving.archive import MoveDestination
from tips_med.serving.bounds import Bounds
from tips_med.serving.connect import open_archive
from tips_med.serving.fetching import fetch_series


def fetch(
    archive: str,
    study: str,
    out: Path,
    series: str | None = None,
    credentials: Path | None = None,
    ca: Path | None = None,
    calling: str = "TIPS_MED",
    receive_port: int | None = None,
    receive_host: str = "127.0.0.1",
    receive_title: str | None = None,
    receive_from: str | None = None,
    timeout_s: float = 60.0,
    max_instance_mb: int = 4096,
    min_free_mb: int = 256,
    plain_http_credentials: bool = False,
) -> str:
    """Fetches a study or a series from an archive.

    Args:
        archive: Address of the archive: https://host/dicom-web, or dicom://AETITLE@host:port.
        study: Study Instance UID.
        out: Path of a new or empty folder; it appears when everything is there.
        series: Series Instance UID; the whole study if left out.
        credentials: File with user:password, or Bearer and a token, for DICOMweb.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        calling: Our AE title, for DIMSE.
        receive_port: Port for C-MOVE (DIMSE); C-GET, which many archives do not support, if left out.
        receive_host: Address to listen on for C-MOVE; 0.0.0.0 for all of this machine.
        receive_title: AE title that the archive knows with this machine and port; that of calling if left out.
        receive_from: AE titles that the archive sends under, separated by commas; its own if left out.
        timeout_s: Timeout in seconds without any data.
        max_instance_mb: Maximum size of an object in MB; larger ones are refused while they come.
        min_free_mb: Minimum free space on the disk in MB; nothing is accepted below it.
        plain_http_credentials: Send credentials over plain http too, where others on the network can read them.

    Returns:
        A summary of the fetch, in words.
    """
    receive = None
    if receive_port is not None:
        senders = [title.strip() for title in (receive_from or "").split(",") if title.strip()]
        receive = MoveDestination(receive_port, receive_host, receive_title, senders)
    with open_archive(
        archive,
        credentials=credentials,
        ca=ca,
        calling=calling,
        receive=receive,
        timeout_s=timeout_s,
        plain_http_credentials=plain_http_credentials,
    ) as opened:
        count = fetch_series(opened, study, out, series, Bounds(max_instance_mb << 20, min_free_mb << 20))
    return f"{count} images written to {out}"
