"""Archives by address."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path

from tips_med.errors import ConfigError, MissingExtraError
from tips_med.serving.archive import Archive, ArchiveError, MoveDestination

_DIMSE = re.compile(r"dicom://(?P<title>[^@/]{1,16})@(?P<host>\[[0-9a-fA-F:]+\]|[^:/@]+):(?P<port>\d{1,5})/?")


def open_archive(
    address: str,
    *,
    credentials: Path | None = None,
    ca: Path | None = None,
    calling: str = "TIPS_MED",
    receive: MoveDestination | None = None,
    plain_http_credentials: bool = False,
    timeout_s: float = 60.0,
) -> Archive:
    """Opens an archive.

    Args:
        address: Address: ``https://host/dicom-web`` for DICOMweb, ``dicom://AETITLE@host:port`` for DIMSE.
        credentials: Path of a file with one line, for DICOMweb: ``user:password``, or ``Bearer`` and a token.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        calling: Our AE title, for DIMSE.
        receive: Receiver of C-MOVE, for DIMSE; C-GET is used when None.
        plain_http_credentials: Send credentials over plain http too, where others on the network can read them.
        timeout_s: Timeout in seconds without any data.

    Raises:
        ArchiveError: ``bad-address``.
        ConfigError: ``plain-http``: there are credentials, and the address is not https; or they or the certificates
            cannot be read, or the ``pacs`` extra is not installed.
    """
    try:
        if address.startswith(("http://", "https://")):
            from tips_med.serving.dicomweb import DicomWebArchive

            if credentials is not None and address.startswith("http://") and not plain_http_credentials:
                raise ConfigError(
                    "credentials would be sent over plain http, for whoever is on the way to read",
                    path=credentials,
                    expected="an https address",
                    remedy="use https, or set --plain-http-credentials on a trusted network",
                    code="plain-http",
                )
            return DicomWebArchive(
                address, authorization=_authorization(credentials), ca_file=_certificates(ca), timeout_s=timeout_s
            )
        from tips_med.serving.dimse import DimseArchive, Peer
    except ModuleNotFoundError as error:
        raise MissingExtraError("archives", str(error.name), "pacs") from error
    parts = _DIMSE.fullmatch(address)
    if parts is None or not 0 < int(parts["port"]) < 65536:
        raise ArchiveError(
            f"{address!r} is no address of an archive",
            expected="https://host/dicom-web or dicom://AETITLE@host:port",
            code="bad-address",
        )
    peer = Peer(parts["title"], parts["host"].strip("[]"), int(parts["port"]))
    return DimseArchive(peer, calling=calling, receive=receive, timeout_s=timeout_s)


def _certificates(ca: Path | None) -> Path | None:
    """The file, which is looked into now: what is wrong with it would later look like an archive that is down."""
    if ca is not None:
        try:
            ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "holds no certificates that can be read", path=ca, expected="a PEM file of the authority to trust"
            ) from error
    return ca


def _authorization(credentials: Path | None) -> str | None:
    if credentials is None:
        return None
    try:
        line = credentials.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("credentials cannot be read", path=credentials) from error
    if line.startswith("Bearer ") and "\n" not in line:
        return line
    if ":" in line and "\n" not in line:
        return "Basic " + base64.b64encode(line.encode()).decode()
    raise ConfigError("holds no credentials", path=credentials, expected='one line: user:password, or "Bearer TOKEN"')
