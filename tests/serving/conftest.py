"""Orthanc, as an archive to talk to."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.loopback import free_port, only_loopback
from tests.serving.orthanc import DICOMWEB, orthanc_running

_ROUTE = Path(__file__).parents[2] / "docs" / "deployment" / "orthanc-route.lua"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        dimse: Its address for DIMSE.
        web: Its DICOMweb root.
        rest: Its own REST root.
        move_port: Where it sends what is asked of it by C-MOVE to TIPS_MED, and at 127.0.0.2 to TIPS_MOVE.
        node_port: Where it reaches the application entity TIPS_NODE, and sends stable CT studies by the route in docs/.
    """

    dimse: str
    web: str
    rest: str
    port: int
    move_port: int
    node_port: int

    def instances(self) -> list[str]:
        """Orthanc's own identifiers of all that it holds."""
        with urllib.request.urlopen(self.rest + "/instances", timeout=20) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def loopback() -> Iterator[None]:
    """Only loopback, for the tests of one file."""
    try:
        with only_loopback():
            yield
    except OSError as error:
        pytest.skip(f"no loopback-only network: {error}")


@pytest.fixture(scope="module")
def orthanc(loopback: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An empty Orthanc with its DICOMweb plugin."""
    folder = tmp_path_factory.mktemp("orthanc")
    dicom, http, move, node = (free_port() for _ in range(4))
    settings = {
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomCheckCalledAet": True,
        "DicomModalities": {
            "us": ["TIPS_MED", "127.0.0.1", move],
            "elsewhere": ["TIPS_MOVE", "127.0.0.2", move],
            "tips-node": ["TIPS_NODE", "127.0.0.1", node],
            "push": ["STORESCU", "127.0.0.1", free_port()],
        },
        "LuaScripts": [str(_ROUTE)],
        "StableAge": 2,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "OverwriteInstances": False,
    }
    running = Orthanc(
        f"dicom://ORTHANC@127.0.0.1:{dicom}",
        f"http://127.0.0.1:{http}/dicom-web",
        f"http://127.0.0.1:{http}",
        dicom,
        move,
        node,
    )
    with orthanc_running(folder, [DICOMWEB], settings):
        yield running
