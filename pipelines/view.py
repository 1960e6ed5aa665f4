"""Opens the page: type a query, look at the scan."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Literal

from tips_med.errors import ConfigError, ReadError
from tips_med.loading import open_model
from tips_med.progress import StepFactory, no_progress
from tips_med.sample import sample_path
from tips_med.server import ServerSettings, create_app, run_server
from tips_med.server.opening import Page


def view(
    scan: str | None = None,
    prior: str | None = None,
    port: int = 0,
    no_browser: bool = False,
    corrections: Path | None = None,
    model: str | None = None,
    device: str = "auto",
    series: str | None = None,
    prior_series: str | None = None,
    phase: int | None = None,
    fill_gaps: bool = False,
    untilt: bool = False,
    modality: Literal["CT", "MR"] | None = None,
    steps: StepFactory = no_progress,
) -> str:
    """Shows a scan in the browser, to be queried and looked at; nothing leaves this machine.

    Args:
        scan: DICOM folder, a DICOM or NIfTI file, a study made by ``encode``, or ``sample``; the page asks for one if
            left out.
        prior: Earlier scan of the same patient, likewise, to be shown beside it and compared with it.
        port: Port on this machine; any free one for 0.
        no_browser: Print the link only, and open no browser.
        corrections: Folder for masks that are corrected on the page, with a manifest that ``train`` reads.
        model: File of weights, or tips:FOLDER; the shipped model if left out.
        device: auto, cpu or cuda.
        series: Series Instance UID to read, where there are several.
        prior_series: Series Instance UID to read of the prior scan, where there are several.
        phase: Number of the time or phase of a 4-D series, from 1.
        fill_gaps: Leave empty slices where some are missing, with a note.
        untilt: Resample a tilted gantry's slices to an upright grid, with a note.
        modality: Modality of a file that does not state it, such as NIfTI: CT (in Hounsfield units) or MR.
        steps: Progress of loading the model; the command line shows a bar.

    Returns:
        A message that it has stopped.

    Raises:
        ReadError: There is no such file or folder, or both scans are the same one.
        ConfigError: The port is in use, or there is a prior scan without a current one.
    """
    path, prior_path = _existing(scan), _existing(prior)
    if prior_path is not None:
        _check_pair(path, series, prior_path, prior_series)
    with _listening(port) as listener, tempfile.TemporaryDirectory(prefix="tips-med-view-") as folder:
        with steps("loading the model"):
            opened = open_model(model, device)
        token, ticket = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        app = create_app(opened, ServerSettings(Path(folder), token, corrections=corrections))
        service = app.state.service
        reading = {"fill_gaps": fill_gaps, "untilt": untilt, "modality": modality}
        local = None if path is None else service.register(path, series=series, phase=phase, **reading)
        local_prior = None if prior_path is None else service.register(prior_path, series=prior_series, **reading)
        service.page = Page(token, ticket, local, local_prior)
        host, own_port = listener.getsockname()
        link = f"http://{host}:{own_port}/#ticket={ticket}"
        sys.stdout.write(f"Open {link}\nThe link works once. Research use only, not a medical device. Stop: Ctrl C\n")
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(link)
        run_server(app, host, own_port, fd=listener.fileno())
    return "stopped"


def _existing(scan: str | None) -> Path | None:
    """The path of a scan.

    Raises:
        ReadError: ``missing``.
    """
    if scan is None:
        return None
    path = sample_path() if scan == "sample" else Path(scan)
    if not path.exists():
        raise ReadError("no such file or folder", path=path, code="missing")
    return path


def _check_pair(path: Path | None, series: str | None, prior_path: Path, prior_series: str | None) -> None:
    """Refuses a prior scan without a current one, and one scan given as both."""
    if path is None:
        raise ConfigError(
            "a prior scan is given, but no current one",
            expected="tips-med view SCAN --prior PRIOR",
            remedy="name the current scan, too",
            code="no-current",
        )
    if path.samefile(prior_path) and series == prior_series:
        raise ReadError(
            "is given as the current and as the prior scan",
            path=path,
            expected="two scans of one patient",
            remedy="name the earlier scan with --prior, or the series of each with --series and --prior-series",
            code="same-study",
        )


def _listening(port: int) -> socket.socket:
    """A socket on loopback that takes connections already, so that the browser need not wait for the server."""
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"port {port} cannot be used ({error})", expected="a free port", remedy="leave --port out", code="port"
        ) from error
    listener.listen()
    return listener
