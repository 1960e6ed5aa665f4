"""DICOMweb archives (PS3.18): QIDO-RS, WADO-RS and STOW-RS through dicomweb-client."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import pydicom
import requests
import requests.auth
from dicomweb_client.api import DICOMwebClient
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from tips_med.serving.archive import Archive, ArchiveError, SeriesFound, StudyFound
from tips_med.serving.bounds import Bounds, Incoming
from tips_med.serving.multipart import media_type, parts
from tips_med.serving.quiet import quiet_web

_RETRIES = 3
_PAGE = 1000
_MOST_FOUND = 1_000_000
_MAX_BODY_BYTES = 64 << 20
_MAX_JSON_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 18
_ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_OBJECTS = ("multipart/related", "application/dicom")
_PAGES = ("text/html", "application/xhtml+xml")
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SOP_INSTANCE_UID = "0020000D", "0020000E", "00080018"

T = TypeVar("T")


class _Session(requests.Session):
    """Its arguments take precedence over the environment.

    By default REQUESTS_CA_BUNDLE would replace the authority that was named, and a login in ``.netrc`` the credentials.
    """

    def __init__(self, authorization: str | None, ca_file: Path | None) -> None:
        super().__init__()
        self._ca_file = ca_file
        if authorization is not None:
            self.auth = _Authorization(authorization)

    def merge_environment_settings(self, *arguments: Any, **named: Any) -> Any:
        merged: Any = super().merge_environment_settings(*arguments, **named)
        if self._ca_file is not None:
            merged["verify"] = str(self._ca_file)
        return merged


class _Authorization(requests.auth.AuthBase):
    """Sets the header as it is."""

    def __init__(self, header: str) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class DicomWebArchive(Archive):
    """An archive behind a DICOMweb root.

    TLS certificates are verified. What fails for the moment (connection, 429, 502 to 504) is tried again, three times
    with growing pauses; storing an instance again changes nothing, so that is tried again too.

    Args:
        url: Root URL: ``https://pacs.example/dicom-web``.
        authorization: Value of the ``Authorization`` header: ``Basic ...`` or ``Bearer ...``.
        timeout_s: Timeout in seconds without any data.
        ca_file: Certificates to trust instead of the system's.
        retries: Number of retries, 0 or more.

    Raises:
        ArchiveError: ``bad-address``.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: str | None = None,
        timeout_s: float = 60.0,
        ca_file: Path | None = None,
        retries: int = _RETRIES,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ArchiveError(f"{url!r} is no http or https address", code="bad-address")
        if parts.username or parts.password:
            raise ArchiveError(
                "the address holds a password",
                remedy="put it in a file, and name that with --credentials",
                code="bad-address",
            )
        self.address = urlunsplit(parts._replace(query="", fragment=""))
        session = _Session(authorization, ca_file)
        retry = Retry(
            total=retries, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods={"GET", "POST"}
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        session.hooks["response"].append(self._look_at_answer)
        self._session, self._timeout_s = session, timeout_s
        self._client = DICOMwebClient(self.address.rstrip("/"), session, timeout=timeout_s)
        self._client.set_http_retry_params(retry=False)  # the session's own retries are bounded and cover connections

    def close(self) -> None:
        """See ``Archive``: ends the connections that are kept for further requests."""
        self._session.close()

    def studies(self, modality: str, since: date, max_studies: int) -> list[StudyFound]:
        """See ``Archive``."""
        fields = ["NumberOfStudyRelatedInstances"]
        filters = {"ModalitiesInStudy": modality, "StudyDate": f"{since:%Y%m%d}-"}

        def search(**page: Any) -> list[dict[str, Any]]:
            return self._client.search_for_studies(fields=fields, search_filters=filters, **page)

        return [
            StudyFound(_text(item, _STUDY_INSTANCE_UID), _number(item, "00201208"))
            for item in self._search(search, _STUDY_INSTANCE_UID, max_studies)
        ]

    def series(self, study_uid: str) -> list[SeriesFound]:
        """See ``Archive``."""
        fields = ["Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"]

        def search(**page: Any) -> list[dict[str, Any]]:
            return self._client.search_for_series(study_uid, fields=fields, **page)

        return [
            SeriesFound(
                _text(item, _SERIES_INSTANCE_UID),
                _text(item, "00080060"),
                _text(item, "0008103E"),
                _number(item, "00201209"),
            )
            for item in self._search(search, _SERIES_INSTANCE_UID)
        ]

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        """See ``Archive``."""

        def search(**page: Any) -> list[dict[str, Any]]:
            return self._client.search_for_instances(study_uid, series_uid, **page)

        return [_text(item, _SOP_INSTANCE_UID) for item in self._search(search, _SOP_INSTANCE_UID)]

    def _search(
        self, search: Callable[..., list[dict[str, Any]]], uid_tag: str, max_matches: int = _MOST_FOUND
    ) -> list[dict[str, Any]]:
        """Queries page by page until nothing new comes: an archive that knows no pages sends everything each time."""
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while len(found) < max_matches:
            page: list[dict[str, Any]] = self._ask(
                lambda offset=offset: search(limit=_PAGE, offset=offset), none_found=[]
            )
            uids = self._ask(lambda page=page: [_text(item, uid_tag) for item in page])
            if page and not any(uids):
                raise self._no_dicom("JSON that names no UID")
            new = {uid: item for uid, item in zip(uids, page, strict=True) if uid and uid not in found}
            if not new:
                break
            found |= new
            offset += len(page)
        return list(found.values())[:max_matches]

    def retrieve(
        self, study_uid: str, folder: Path, series_uid: str | None = None, bounds: Bounds | None = None
    ) -> Iterator[Path]:
        """See ``Archive``; the answer goes to disk as it comes."""
        url = f"{self._client.base_url}/studies/{study_uid}" + (f"/series/{series_uid}" if series_uid else "")
        response = self._ask(lambda: self._get(url))
        with response:
            kind, boundary = media_type(response.headers.get("Content-Type", ""))
            body = response.iter_content(_CHUNK_BYTES)
            if kind == "application/dicom":  # a single object; PS3.18 has allowed it now and then
                files = _single(body, folder / "object.part", bounds or Bounds())
            elif kind == "multipart/related" and boundary is not None:
                files = parts(body, boundary, folder, bounds or Bounds())
            else:
                raise self._no_dicom(kind)
            while (file := self._ask(lambda: next(files, None))) is not None:
                yield file

    def _get(self, url: str) -> requests.Response:
        response = self._session.get(url, headers={"Accept": _ANY_SYNTAX}, stream=True, timeout=self._timeout_s)
        try:
            response.raise_for_status()
        except requests.HTTPError:
            response.close()
            raise
        return response

    def _no_dicom(self, kind: str) -> ArchiveError:
        return ArchiveError(
            f"{self.address} answered with {kind or 'nothing that it names'}, and not with DICOM",
            expected="the address of a DICOMweb service (QIDO-RS, WADO-RS)",
            remedy="check the address; where a login page stands before it, name --credentials",
            code="not-dicomweb",
        )

    def store(self, files: Sequence[Path]) -> None:
        """See ``Archive``."""
        for batch in _batches(files):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd values that were the source's
                instances = [pydicom.dcmread(file) for file in batch]
                answer = self._ask(lambda sent=instances: self._client.store_instances(sent))
            failed = len(answer.get("FailedSOPSequence", ()))
            stored = len(answer.get("ReferencedSOPSequence", ()))
            if failed or stored < len(batch):
                raise ArchiveError(
                    f"{self.address} stored {stored} of {len(batch)} objects",
                    remedy="look at the archive's log for the reason",
                    code="not-stored",
                )

    def _look_at_answer(self, response: requests.Response, **_: Any) -> None:
        """Before it is read: refuses a page for people, such as a login page; bounds all that is no DICOM object."""
        kind, _boundary = media_type(response.headers.get("Content-Type", ""))
        if response.status_code == requests.codes.ok and kind in _PAGES:
            response.close()
            raise self._no_dicom(kind)
        if kind not in _OBJECTS:
            response.raw.stream = self._bounded(response)

    def _bounded(self, response: requests.Response) -> Callable[..., Iterator[bytes]]:
        stream = response.raw.stream

        def read(*arguments: Any, **named: Any) -> Iterator[bytes]:
            size = 0
            for chunk in stream(*arguments, **named):
                size += len(chunk)
                if size > _MAX_JSON_BYTES:
                    response.close()
                    raise ArchiveError(
                        f"{self.address} answered with more than {_MAX_JSON_BYTES >> 20} MB of text",
                        remedy="look at the archive's log, or request less",
                        code="too-large",
                    )
                yield chunk

        return read

    def _ask(self, request: Callable[[], T], none_found: Any = None) -> T:
        """Runs a request; an archive's errors become ours. No error text of the archive is passed on."""
        try:
            with quiet_web():
                return request()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 404 and none_found is not None:
                return none_found
            remedy = "check the credentials" if status in (401, 403) else "look at the archive's log"
            raise ArchiveError(f"{self.address} answered {status}", remedy=remedy, code="refused") from error
        except requests.exceptions.SSLError as error:
            raise ArchiveError(
                f"{self.address} cannot be spoken to: its certificate is not trusted",
                remedy="name the certificate of the authority that issued it with --ca",
                code="untrusted",
            ) from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._no_dicom("what is no JSON") from error
        except requests.RequestException as error:
            raise ArchiveError(
                f"{self.address} cannot be reached ({type(error).__name__})",
                remedy="check the address, and that the archive is up",
                code="unreachable",
            ) from error
        except OSError:
            raise  # the disk's
        except (ValueError, EOFError, AttributeError, TypeError, KeyError) as error:
            raise ArchiveError(
                f"{self.address} sent what is no DICOM ({type(error).__name__})",
                remedy="look at the archive's log for the reason",
                code="not-dicom",
            ) from error


def _single(chunks: Iterator[bytes], path: Path, bounds: Bounds) -> Iterator[Path]:
    file = Incoming(path, bounds)
    try:
        for chunk in chunks:
            file.write(chunk)
    except requests.RequestException:
        file.discard()
        raise
    yield file.finish()


def _text(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 annex F); empty where there is none."""
    entry = item.get(tag)
    values = entry.get("Value") if isinstance(entry, dict) else None
    return str(values[0]) if isinstance(values, list) and values and values[0] is not None else ""


def _number(item: dict[str, Any], tag: str) -> int:
    text = _text(item, tag)
    return int(text) if text.isdecimal() else 0


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Files in their order, in requests of a bounded size."""
    batch: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if batch and size + length > _MAX_BODY_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    if batch:
        yield batch
