"""A question to the server. No MRML and no Qt: it may run in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tips_med_client import Answer, Client, Volume, read_nifti


@dataclass(frozen=True)
class Fetched:
    """An answer with its volumes.

    Attributes:
        answer: The answer; only this, where it was declined.
        labels: Number of the instance in each voxel, on the grid of the scan; None without instances.
        not_assessed: True where nothing was assessed, on the grid of the scan; None where everything was.
        words: Map of each word of the query on a grid of its own, 0 where nothing was measured.
    """

    answer: Answer
    labels: Volume | None = None
    not_assessed: Volume | None = None
    words: dict[str, Volume] = field(default_factory=dict)


def encode(client: Client, scan: Volume, modality: str | None, told: Callable[[str], object] = lambda _: None) -> str:
    """Sends a scan and waits until it is encoded; the same voxels at the same place are one study.

    Args:
        client: The server.
        scan: The scan.
        modality: DICOM's code for it; None lets the server judge by the values.
        told: Called with what is being done, in words.

    Returns:
        Id of the study.

    Raises:
        tips_med_client.ServerError: The server refused, or cannot be reached.
        ValueError: The voxels are of a type that cannot be sent.
    """
    told("Sending the scan ...")
    study = client.upload(scan, modality=modality)
    told("Encoding, once for this scan ...")
    client.wait(study, lambda done, total: told(f"Encoding, once for this scan: {100 * done // max(total, 1)}%"))
    return study


def fetch(client: Client, study: str, scan: Volume, query: str, *, words: bool = False) -> list[Fetched]:
    """Asks an encoded study; one text may be several queries.

    Args:
        client: The server.
        study: Id of the study.
        scan: The scan.
        query: What is looked for, in words.
        words: Whether to fetch the map of each word.

    Raises:
        tips_med_client.ServerError: The server refused, or cannot be reached.
    """
    return [_fetch(client, scan, answer, words) for answer in client.ask(study, query)]


def _fetch(client: Client, scan: Volume, answer: Answer, words: bool) -> Fetched:
    if answer.declined is not None:
        return Fetched(answer)
    hidden = read_nifti(client.file(answer.url("not-assessed")))
    if hidden.voxels.any():  # maybe beside the scan alone, where the grid of the map reaches further
        hidden = on_scan(hidden, scan)
    return Fetched(
        answer,
        read_nifti(client.file(answer.url("labels"))) if answer.instances else None,
        hidden if hidden.voxels.any() else None,
        {word: _without_nan(client.word(answer, word)) for word in (answer.words if words else [])},
    )


def on_scan(volume: Volume, scan: Volume) -> Volume:
    """The nearest values on the grid of the scan, bool; False where there is none."""
    index_from_scan = np.linalg.inv(volume.lps_from_kji) @ scan.lps_from_kji
    found = np.zeros(scan.voxels.shape, bool)
    j, i = np.indices(found.shape[1:])
    limits = np.array(volume.voxels.shape).reshape(3, 1, 1)
    for k in range(len(found)):
        at = np.stack([np.rint(line[0] * k + line[1] * j + line[2] * i + line[3]) for line in index_from_scan[:3]])
        within = ((at >= 0) & (at < limits)).all(axis=0)
        z, y, x = at[:, within].astype(int)
        found[k][within] = volume.voxels[z, y, x] != 0
    return Volume(found, scan.lps_from_kji)


def _without_nan(volume: Volume) -> Volume:
    return Volume(np.nan_to_num(volume.voxels), volume.lps_from_kji)
