"""Orthanc as a program of its own, to be started with any settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

FRESH = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request: Orthanc ends one that was idle for a second, just when the next request may go out."""

PLUGINS = Path("/usr/share/orthanc/plugins")
DICOMWEB, PYTHON = "libOrthancDicomWeb.so", "libOrthancPython.so"


@contextmanager
def orthanc_running(
    folder: Path, plugins: Sequence[str], settings: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs Orthanc until the end of the block; the test is skipped where Orthanc or a plugin is not installed.

    Args:
        folder: Where it keeps its data, its configuration and its ``log``.
        plugins: Files of Debian's plugins.
        settings: Its configuration, ``HttpPort`` and ``DicomPort`` among it.
        environment: Its environment; that of the tests when None.
    """
    program = shutil.which("Orthanc")
    if program is None or not all((PLUGINS / one).exists() for one in plugins):
        pytest.skip("Orthanc is not installed with its plugins (Debian: orthanc, orthanc-dicomweb, orthanc-python)")
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGINS / one) for one in plugins],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(content))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder, env=environment
        )
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{settings['HttpPort']}/system", timeout=20):
                    break
            except OSError:
                if process.poll() is not None:
                    pytest.fail("Orthanc did not start: " + (folder / "log").read_text()[-2000:])
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0
