"""One server and one scan for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.phantom import body
from tests.server.running import MASS, Running, running, write_scan
from tests.serving.conftest import loopback, orthanc  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def scan_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient with a mass in the left lung."""
    return write_scan(body(MASS), tmp_path_factory.mktemp("scan") / "scan.nii.gz")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with an empty folder."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder / "server", corrections=folder / "corrections", max_mvoxels=100) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of a page; their files are skipped where there is none."""
    from tests.server.browser import chromium

    with chromium() as found:
        yield found
