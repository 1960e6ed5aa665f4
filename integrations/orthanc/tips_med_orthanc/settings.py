"""What the operator decides: the section ``TipsMed`` of Orthanc's configuration, and the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECTION = "TipsMed"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "Server": str,
    "TokenFile": str,
    "Queries": list,
    "DicomWeb": str,
    "CaFile": str,
    "AllowPlainHttp": bool,
    "TimeoutS": (int, float),
}


class SettingsError(Exception):
    """A setting that cannot be used; its text tells which, and what is expected."""


@dataclass(frozen=True)
class Settings:
    """Where the server is, and what it is asked.

    Attributes:
        server: Address of ``tips-med serve``, without a path.
        token: Its token; None where it asks for none.
        queries: Asked of each new CT series.
        dicomweb: Root of this Orthanc's DICOMweb as the server reaches it; None to send images as a zip archive.
        ca: Certificates to trust instead of the system's (a PEM file).
        timeout_s: Seconds for reading and encoding a series, and for each request.
    """

    server: str
    token: str | None = None
    queries: tuple[str, ...] = ()
    dicomweb: str | None = None
    ca: Path | None = None
    timeout_s: float = 900.0


def read_settings(configuration: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Args:
        configuration: Orthanc's whole configuration.
        environment: ``TIPS_MED_SERVER`` and ``TIPS_MED_TOKEN`` come before the configuration.

    Raises:
        SettingsError: Something is missing, or cannot be used.
    """
    section = configuration.get(SECTION, {})
    if not isinstance(section, dict):
        raise SettingsError(f"{SECTION} is no object; expected {{ ... }}")
    for name, value in section.items():
        if name not in _KINDS:
            raise SettingsError(f"{SECTION}.{name} is unknown; expected one of {', '.join(_KINDS)}")
        if not isinstance(value, _KINDS[name]):
            raise SettingsError(f"{SECTION}.{name} is of another type than expected")
    queries = section.get("Queries", [])
    if not all(isinstance(one, str) and 0 < len(one.strip()) <= 300 for one in queries):
        raise SettingsError(f"{SECTION}.Queries: expected texts of 1 to 300 characters")
    timeout_s = float(section.get("TimeoutS", 900))
    if not 1 <= timeout_s <= 86400:
        raise SettingsError(f"{SECTION}.TimeoutS is {timeout_s:g}; expected 1 to 86400")
    token = environment.get("TIPS_MED_TOKEN") or _token(section.get("TokenFile"))
    ca = section.get("CaFile")
    if ca is not None and not Path(ca).is_file():
        raise SettingsError(f"{SECTION}.CaFile names no file; expected certificates (PEM)")
    return Settings(
        server=_address(environment.get("TIPS_MED_SERVER") or section.get("Server"), section.get("AllowPlainHttp")),
        token=token,
        queries=tuple(dict.fromkeys(one.strip() for one in queries)),
        dicomweb=section.get("DicomWeb") or None,
        ca=None if ca is None else Path(ca),
        timeout_s=timeout_s,
    )


def _address(text: str | None, allow_plain_http: bool | None) -> str:
    if not text:
        raise SettingsError(f'{SECTION}.Server is missing; expected an address such as "http://127.0.0.1:8431"')
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    plain = parts.path.rstrip("/") + parts.query + parts.fragment
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or plain:
        raise SettingsError(f'{SECTION}.Server is no address; expected one such as "http://127.0.0.1:8431"')
    if parts.scheme == "http" and not (_is_loopback(host) or allow_plain_http):
        raise SettingsError(
            f"{SECTION}.Server is on another machine, and http would show images and token to whoever is on the way; "
            f"expected https, or AllowPlainHttp for a network that is yours alone"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        token = Path(file).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(
            f"{SECTION}.TokenFile cannot be read; expected one line of ASCII text that Orthanc's user may read"
        ) from None
    if not token or any(one.isspace() for one in token):
        raise SettingsError(f"{SECTION}.TokenFile holds no token; expected one line without spaces")
    return token
