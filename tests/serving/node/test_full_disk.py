"""A disk that is really full: the sender is told, nothing half is left, and all goes on when there is room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROBE = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
_SCRIPT = """
import json, sys
from pathlib import Path
from tests.serving.node.full_disk import {name}
print(json.dumps({name}(Path(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a disk of 1 MiB may be mounted, in a mount namespace that nobody else sees."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    probe = subprocess.run(_PROBE, capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.strip()}")
    yield tmp_path_factory.mktemp("tiny")


def on_tiny_disk(place: Path, name: str) -> dict[str, object]:
    """Runs a function of ``full_disk`` with a disk of 1 MiB at a place; what it returns."""
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(place)]
    script = [sys.executable, "-c", _SCRIPT.format(name=name), str(place)]
    done = subprocess.run([*command, *script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_intake_refuses_and_goes_on_when_there_is_room(tiny: Path) -> None:
    told = on_tiny_disk(tiny, "intake")
    assert told["before"] == [0xA700] * 3, "out of resources: the sender keeps its images"
    assert told["left"] == [], "no half file"
    assert told["after"] == [0] * 3
    assert told["answered"] == 1


def test_results_that_do_not_fit_are_made_again_later(tiny: Path) -> None:
    told = on_tiny_disk(tiny, "results")
    assert told["sent_while_full"] == 0
    assert told["left"] == [], "no half result"
    assert told["answered"] == 1
    assert told["whole_lines"] is True, "no half line in the audit log"
