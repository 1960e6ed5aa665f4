"""What the operator of a server decides: places, callers, limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tips_med.errors import ConfigError


@dataclass(frozen=True)
class ServerSettings:
    """Places, callers and limits of a server.

    Attributes:
        folder: Folder of the server alone: sources, encoded studies, answers.
        token: Secret that each request below ``/v1`` and ``/voxtell`` must carry; None to ask for none.
        hosts: Names that the Host header may have, without port.
        origins: Origins whose pages may use the server, as ``https://viewer.example``; its own page always may.
        dicomweb: Roots of DICOMweb archives that studies may be fetched from, each with the path of its credentials
            (see ``open_archive``) or None.
        ca: Certificates to trust instead of the system's, for DICOMweb (a PEM file).
        corrections: Folder for masks that users correct, with their manifest; None to refuse them.
        max_upload_mb: Maximum size of an upload in MB.
        max_body_mb: Maximum size of any other request in MB.
        max_mvoxels: Maximum size of a scan in millions of voxels; each takes 4 bytes, and about as much again.
        max_queued: Maximum number of studies that wait to be encoded, and of pairs that wait to be registered.
        max_studies: Maximum number of studies that are kept; beyond, the least recently used one is forgotten.
        max_waiting: Maximum number of queries that wait for an answer.
        max_answers: Maximum number of answers that are kept of a study.
        memory_mb: Memory for studies and answers in MB; beyond, the least recently used ones are on disk alone.
        min_free_mb: Minimum free space on the disk in MB; nothing is accepted below it.
        upload_s: Seconds that an upload may take.
        idle_s: Seconds that a client may stay silent while it sends.
        encoding_s: Seconds that reading and encoding a study may take, and registering it with a prior one.
        answer_s: Seconds that a query may take, waiting included.
        workers: Number of queries that are answered at the same time.
    """

    folder: Path
    token: str | None = None
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    origins: tuple[str, ...] = ()
    dicomweb: dict[str, Path | None] = field(default_factory=dict)
    ca: Path | None = None
    corrections: Path | None = None
    max_upload_mb: int = 2048
    max_body_mb: int = 64
    max_mvoxels: int = 600
    max_queued: int = 16
    max_studies: int = 200
    max_waiting: int = 64
    max_answers: int = 500
    memory_mb: int = 4096
    min_free_mb: int = 512
    upload_s: float = 900.0
    idle_s: float = 30.0
    encoding_s: float = 900.0
    answer_s: float = 120.0
    workers: int = 2

    def __post_init__(self) -> None:
        if self.token is not None and (len(self.token) < 16 or not self.token.isascii()):
            raise ConfigError(
                "the token is too easy to guess", expected="at least 16 ASCII characters", code="weak-token"
            )
        limits = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        for name, value in limits.items():
            if value <= 0:
                raise ConfigError(f"{name} is {value}", expected="a number above 0")
