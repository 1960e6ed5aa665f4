"""Serves scans and answers over HTTP."""

from __future__ import annotations

import logging
import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tips_med.errors import ConfigError
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress
from tips_med.server import ServerSettings, create_app, run_server

log = logging.getLogger(__name__)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    folder: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8431,
    token_file: Path | None = None,
    no_token: bool = False,
    allow_host: str | None = None,
    allow_origin: str | None = None,
    dicomweb: str | None = None,
    credentials: Path | None = None,
    ca: Path | None = None,
    corrections: Path | None = None,
    model: str | None = None,
    device: str = "auto",
    memory_mb: int = 4096,
    max_upload_mb: int = 2048,
    max_queued: int = 16,
    max_studies: int = 200,
    encoding_s: float = 900.0,
    answer_s: float = 120.0,
    workers: int = 2,
    steps: StepFactory = no_progress,
) -> str:
    """Serves scans and answers over HTTP, until it is stopped.

    Args:
        folder: Folder of the server alone, for scans, encoded studies and answers; a temporary one if left out.
        host: Address to listen on; 0.0.0.0 for all of this machine.
        port: Port to listen on.
        token_file: File with the token that clients must send; a new token is made and printed if left out.
        no_token: Ask for no token: whoever reaches the port may read every study. On loopback only.
        allow_host: Further names that clients may call the server by, separated by commas.
        allow_origin: Origins of pages that may use the server, such as https://viewer.example, separated by commas.
        dicomweb: Roots of DICOMweb archives that studies may be fetched from, separated by commas.
        credentials: File with user:password, or Bearer and a token, for these archives.
        ca: Certificates to trust instead of the system's, for these archives (a PEM file).
        corrections: Folder for corrected masks and their manifest; they are refused if left out.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        memory_mb: Memory for studies in MB; beyond, the least recently used ones are on disk alone.
        max_upload_mb: Maximum size of an upload in MB.
        max_queued: Maximum number of studies that wait to be encoded, and of pairs that wait to be registered.
        max_studies: Maximum number of studies that are kept; beyond, the least recently used one is forgotten.
        encoding_s: Seconds that reading and encoding a study may take, and registering it with a prior one.
        answer_s: Seconds that a query may take.
        workers: Number of queries that are answered at the same time.
        steps: Progress of loading the model; the command line shows a bar.

    Returns:
        A message that it has stopped.
    """
    if no_token and host not in _LOOPBACK:
        raise ConfigError(
            f"without a token, whoever reaches {host} could read every study",
            expected="a loopback address",
            remedy="leave --no-token out",
            code="open-server",
        )
    token = None if no_token else read_token(token_file)
    names = () if host in ("0.0.0.0", "::") else (host,)  # noqa: S104 (compared, not bound)
    with ExitStack() as stack:
        own = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tips-med-serve-")))
        with steps("loading the model"):
            opened = open_model(model, device)
        settings = ServerSettings(
            folder=own,
            token=token,
            hosts=(*_LOOPBACK, *names, *_several(allow_host)),
            origins=_several(allow_origin),
            dicomweb=dict.fromkeys(_several(dicomweb), credentials),
            ca=ca,
            corrections=corrections,
            memory_mb=memory_mb,
            max_upload_mb=max_upload_mb,
            max_queued=max_queued,
            max_studies=max_studies,
            encoding_s=encoding_s,
            answer_s=answer_s,
            workers=workers,
        )
        app = create_app(opened, settings)
        if token is not None and token_file is None:
            sys.stdout.write(f"Token: {token}\n")
        sys.stdout.write(f"Serving on http://{_in_url(host)}:{port} (research use only, not a medical device)\n")
        sys.stdout.flush()
        run_server(app, host, port)
    return "stopped"


def read_token(path: Path | None) -> str:
    """The token in a file; a new one without a file.

    Raises:
        ConfigError: The file cannot be read, or holds no token.
    """
    if path is None:
        return secrets.token_urlsafe(32)
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the token cannot be read", path=path, expected="one line of ASCII text") from error
    if len(token) < 16 or any(one.isspace() for one in token):
        raise ConfigError("holds no token", path=path, expected="one line of at least 16 characters, without spaces")
    return token


def _several(text: str | None) -> tuple[str, ...]:
    return tuple(one.strip() for one in (text or "").split(",") if one.strip())


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
