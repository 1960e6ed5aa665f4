"""DICOMweb archives (PS3.18): QIDO-RS, WADO-RS and STOW-RS through dicomweb-client."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from tips_med.serving.archive import Archive, ArchiveError, SeriesFound, StudyFound

_RETRIES = 3
_PAGE = 200
_MAX_BODY_BYTES = 64 << 20
_ANY_SYNTAX = (("application/dicom", "*"),)
_SOP_INSTANCE_UID = "00080018"

logging.getLogger("retrying").setLevel(logging.CRITICAL)  # dicomweb-client's own; it would log tracebacks

T = TypeVar("T")


class DicomWebArchive(Archive):
    """An archive behind a DICOMweb root.

    TLS certificates are verified. What fails for the moment (connection, 429, 502 to 504) is tried again, three times
    with growing pauses; storing an instance again changes nothing, so that is tried again too.

    Args:
        url: The root: ``https://pacs.example/dicom-web``.
        authorization: ``Authorization`` header: ``Basic ...`` or ``Bearer ...``.
        timeout_s: Longest silence.
        ca_file: Certificates to trust instead of the system's.
        retries: How often to try again.

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
        session = requests.Session()
        retry = Retry(
            total=retries, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods={"GET", "POST"}
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        if ca_file is not None:
            session.verify = str(ca_file)
        headers = {"Authorization": authorization} if authorization else None
        self._client = DICOMwebClient(self.address.rstrip("/"), session, headers=headers, timeout=timeout_s)
        self._client.set_http_retry_params(retry=False)  # the session's own retries are bounded and cover connections

    def studies(self, modality: str, since: date, most: int) -> list[StudyFound]:
        """See ``Archive``; asked for page by page."""
        filters = {"ModalitiesInStudy": modality, "StudyDate": f"{since:%Y%m%d}-"}
        found: list[StudyFound] = []
        offset = 0
        while offset < most:
            page: list[dict[str, Any]] = self._ask(
                lambda offset=offset: self._client.search_for_studies(
                    limit=min(_PAGE, most - offset),
                    offset=offset,
                    fields=["NumberOfStudyRelatedInstances"],
                    search_filters=filters,
                ),
                none_found=[],
            )
            found += [StudyFound(_text(item, "0020000D"), _number(item, "00201208")) for item in page]
            if not page:
                break
            offset += len(page)
        return found[:most]

    def series(self, study_uid: str) -> list[SeriesFound]:
        """See ``Archive``."""
        fields = ["Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"]
        found: list[dict[str, Any]] = self._ask(
            lambda: self._client.search_for_series(study_uid, fields=fields, get_remaining=True), none_found=[]
        )
        return [
            SeriesFound(
                _text(item, "0020000E"), _text(item, "00080060"), _text(item, "0008103E"), _number(item, "00201209")
            )
            for item in found
        ]

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        """See ``Archive``."""
        found: list[dict[str, Any]] = self._ask(
            lambda: self._client.search_for_instances(study_uid, series_uid, get_remaining=True), none_found=[]
        )
        return [str(item[_SOP_INSTANCE_UID]["Value"][0]) for item in found]

    def retrieve(self, study_uid: str, series_uid: str | None = None) -> Iterator[Dataset]:
        """See ``Archive``."""
        if series_uid is None:
            stream = self._ask(lambda: self._client.iter_study(study_uid, media_types=_ANY_SYNTAX))
        else:
            stream = self._ask(lambda: self._client.iter_series(study_uid, series_uid, media_types=_ANY_SYNTAX))
        while (instance := self._ask(lambda: next(stream, None))) is not None:
            yield instance

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

    def _ask(self, request: Callable[[], T], none_found: Any = None) -> T:
        """Runs a request; an archive's errors become ours. No error text of the archive is passed on."""
        try:
            return request()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status == 404 and none_found is not None:
                return none_found
            remedy = "check the credentials" if status in (401, 403) else "look at the archive's log"
            raise ArchiveError(f"{self.address} answered {status}", remedy=remedy, code="refused") from error
        except requests.RequestException as error:
            raise ArchiveError(
                f"{self.address} cannot be reached ({type(error).__name__})",
                remedy="check the address, and that the archive is up",
                code="unreachable",
            ) from error
        except (ValueError, EOFError, OSError) as error:
            raise ArchiveError(
                f"{self.address} sent what is no DICOM ({type(error).__name__})", code="incomplete"
            ) from error


def _text(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 annex F); empty where there is none."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


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
