"""A server that runs in a thread of the test, on loopback."""

from __future__ import annotations

import contextlib
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from tests.followup.patients import LEFT, RIGHT, mass, motion, moved, patient, with_vessels
from tests.phantom import AFFINE, SHAPE, body, rule_model
from tests.readers.awkward.writing import make_series, store, write_series
from tests.serving.loopback import free_port
from tips_med.exporters.nifti import write_volume
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.server import ServerSettings, create_app
from tips_med.server.service import Service

TOKEN = "a-token-of-these-tests"
MASS = [((60.0, 0.0, 20.0), 14.0, 45.0)]
"""A mass in the left lung."""


@dataclass(frozen=True)
class Running:
    """A server at work.

    Attributes:
        url: Its address.
        service: What it shares among requests.
        http: A client of it, with the token.
    """

    url: str
    service: Service
    http: httpx.Client

    def upload(self, path: Path, **form: Any) -> dict[str, Any]:
        """Sends a scan."""
        return self.http.post("/v1/studies", files={"file": path.read_bytes()}, data=form).json()

    def ready(self, path: Path, **form: Any) -> str:
        """Sends a scan and waits until it is encoded; its id."""
        study = self.upload(path, **form)["id"]
        assert self.ended(study)["state"] == "ready"
        return study

    def ended(self, study: str) -> dict[str, Any]:
        """Waits for the end of a study's encoding."""
        for _ in range(600):
            entry = self.http.get(f"/v1/studies/{study}").json()
            if entry.get("state") not in ("queued", "reading", "encoding"):
                return entry
            time.sleep(0.05)
        raise AssertionError("not encoded in 30 s")


@contextlib.contextmanager
def running(folder: Path, model: GroundingModel | None = None, **settings: Any) -> Iterator[Running]:
    """Runs a server with the model that knows by rule."""
    settings = {"token": TOKEN, "min_free_mb": 1, **settings}
    app = create_app(model or rule_model(), ServerSettings(folder, **settings))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
        ) as client:
            yield Running(url, app.state.service, client)
    finally:
        server.should_exit = True
        thread.join(30)


def turned(name: str) -> Scan:
    """The body with its mass, on a grid that lies otherwise in the patient."""
    affine, shape = AFFINE.copy(), SHAPE
    if name == "mirrored":
        affine = affine @ np.diag([1.0, 1, -1, 1])
    if name == "anisotropic":
        affine, shape = affine @ np.diag([2.0, 0.75, 0.8, 1.0]), (40, 133, 125)
    if name == "oblique":
        a = np.deg2rad(17)
        affine = (
            np.array([[1, 0, 0, 0], [0, np.cos(a), -np.sin(a), 0], [0, np.sin(a), np.cos(a), 0], [0, 0, 0, 1]]) @ affine
        )
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return body(MASS, affine, shape)


def write_scan(scan: Scan, path: Path) -> Path:
    """The scan as NIfTI, int16."""
    return write_volume(scan.voxels.astype(np.int16), scan.lps_from_kji, path)


def two_days(folder: Path) -> tuple[Path, Path]:
    """A patient on two days, on an oblique and on a mirrored grid: the mass on the left grew, and the patient moved."""
    earlier = with_vessels(patient([mass(LEFT, 12.0), mass(RIGHT, 14.0)], "oblique"))
    later = moved(with_vessels(patient([mass(LEFT, 19.0), mass(RIGHT, 14.0)])), motion(), "mirrored")
    return write_scan(earlier, folder / "prior.nii.gz"), write_scan(later, folder / "current.nii.gz")


def zipped_series(folder: Path) -> Path:
    """The body with its mass as a zip archive of DICOM images, whose names name the patient."""
    voxels = body(MASS).voxels
    slices = make_series(slices=80, rows=100, columns=100, spacing_mm=(2.0, 3.0), step_mm=3.0, centre=np.zeros(3))
    series = write_series(folder / "series", [store(one, plane) for one, plane in zip(slices, voxels)])
    path = folder / "series.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in series.iterdir():
            archive.write(file, f"DOE^JOHN/{file.name}")
    return path
