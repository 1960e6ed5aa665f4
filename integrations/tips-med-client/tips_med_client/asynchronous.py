"""The client whose methods are coroutines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tips_med_client import requests
from tips_med_client.answer import Answer
from tips_med_client.errors import check, reaching
from tips_med_client.upload import open_upload
from tips_med_client.volume import Volume, read_nifti


class AsyncClient:
    """Asks a server without blocking; see ``Client``, whose methods and errors these are.

    Args:
        url: Address of the server: ``http://127.0.0.1:8431``.
        token: Token that the server prints when it starts; None where it asks for none.
        timeout_s: Seconds without any data after which a request fails.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 600.0) -> None:
        self._http = httpx.AsyncClient(base_url=url.rstrip("/"), **requests.options(token, timeout_s))

    async def capabilities(self) -> dict[str, Any]:
        """Model, findings, structures, limits."""
        return await self._json("GET", "/v1/capabilities")

    async def suggestions(self, text: str) -> dict[str, Any]:
        """Completions and corrections of a text that is being typed."""
        return await self._json("GET", "/v1/suggestions", params={"text": text})

    async def upload(self, scan: str | Path | Volume, **reading: Any) -> str:
        """Sends a scan; the same one again is the same study.

        Args:
            scan: NIfTI file, zip archive or folder of DICOM files; or voxels, which are sent without a file.
            **reading: ``series``, ``phase``, ``fill_gaps``, ``untilt``, ``modality``, as of ``tips-med ground``.

        Returns:
            Id of the study.
        """
        with open_upload(scan) as file:
            sent = {"file": ("scan", file, "application/octet-stream")}
            return (await self._json("POST", "/v1/studies", files=sent, data=requests.form(reading)))["id"]

    async def fetch(self, url: str, study_uid: str, series_uid: str) -> str:
        """Lets the server fetch a series from a DICOMweb archive that its operator allowed; the id of the study."""
        body = {"dicomweb": {"url": url, "study": study_uid, "series": series_uid}}
        return (await self._json("POST", "/v1/studies", json=body))["id"]

    async def studies(self) -> list[dict[str, Any]]:
        """All studies of the server, the last used first."""
        return (await self._json("GET", "/v1/studies"))["studies"]

    async def study(self, study: str) -> dict[str, Any]:
        """State of a study."""
        return await self._json("GET", f"/v1/studies/{study}")

    async def wait(self, study: str, progress: Callable[[int, int], Any] | None = None) -> dict[str, Any]:
        """Waits until a study is encoded.

        Args:
            study: Id of the study.
            progress: Called with (slabs done, slabs in all).

        Raises:
            ServerError: It failed or was cancelled, or the connection was lost.
        """
        with reaching():
            async with self._http.stream("GET", f"/v1/studies/{study}/events") as response:
                if not response.is_success:
                    await response.aread()
                    check(response)
                async for line in response.aiter_lines():
                    told = requests.study_of_line(line)
                    if told is not None:
                        if progress is not None and told["total"]:
                            progress(told["done"], told["total"])
                        if requests.ended(told):
                            return told
        raise requests.lost()

    async def ask(self, study: str, query: str, threshold: float | None = None) -> list[Answer]:
        """Asks an encoded study; one text may be several queries, and each has an answer or a reason for none."""
        body = {"query": query, "threshold": threshold}
        return requests.answers_of(await self._json("POST", f"/v1/studies/{study}/answers", json=body))

    async def mask(self, answer: Answer) -> Volume:
        """Where it is: uint8 on the scan's own grid."""
        return read_nifti(await self.file(answer.url("mask")))

    async def heat(self, answer: Answer) -> Volume:
        """The map of probabilities: float32 on a grid of its own, NaN where nothing was measured."""
        return read_nifti(await self.file(answer.url("heat")))

    async def word(self, answer: Answer, word: str) -> Volume:
        """What one word of the query lights up, on the grid of ``heat``."""
        return read_nifti(await self.file(answer.word_url(word)))

    async def scan(self, study: str) -> Volume:
        """The voxels, int16."""
        return read_nifti(await self.file(f"/v1/studies/{study}/scan.nii.gz"))

    async def file(self, path: str) -> bytes:
        """A file of the server, such as ``answer.url("seg")``."""
        with reaching():
            return check(await self._http.get(path)).content

    async def correct(self, study: str, query: str, mask: Volume) -> dict[str, Any]:
        """Stores a mask as it should be, on the scan's grid, where the server takes corrections."""
        return await self._json("POST", f"/v1/studies/{study}/corrections", json=requests.correction(query, mask))

    async def forget(self, study: str) -> None:
        """Cancels a study, or removes all that the server keeps of it."""
        await self._json("DELETE", f"/v1/studies/{study}")

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _json(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        with reaching():
            return check(await self._http.request(method, path, **content)).json()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
