"""Tries an installed tips_med in an empty folder, without the repository and without a network.

    python tests/packaging/trial.py VENV/bin/python

It needs nothing but the standard library, so that the release can run it in any environment. It ends with 0 when all
that was tried did what it should, and says what did not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_GUARD = """
import socket
def refused(*arguments, **named):
    raise OSError("no network in this trial")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
"""
_REACHES_OUT = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=2)"  # TEST-NET-1: nobody is there
_WHERE = "import sys, tips_med; print(sys.prefix); print(tips_med.__file__)"


@dataclass(frozen=True)
class Trial:
    """What was seen.

    Attributes:
        network: What kept the network away: ``namespace``, or ``guard`` where the system allows none.
        report: ``report.json`` of ``ground``.
        doctor: What ``doctor --json`` told.
        bundle: Files of the exported bundle.
    """

    network: str
    report: dict
    doctor: dict
    bundle: tuple[str, ...]


def try_installed(python: Path, folder: Path) -> Trial:
    """Asks the bundled scan, examines the installation and exports the model.

    Args:
        python: Interpreter of the environment that tips_med is installed into.
        folder: Empty folder to work in.
    """
    assert not any(folder.iterdir()), f"{folder} is not empty"
    home = folder / "home"
    home.mkdir()
    tips_med = python.with_name("tips-med")
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "SYSTEMROOT") if name in os.environ}
    environment = kept | {"HOME": str(home), "PYTHONWARNINGS": "error::ResourceWarning"}
    alone = _without_network()
    if not alone:
        (folder / "guard").mkdir()
        (folder / "guard" / "sitecustomize.py").write_text(_GUARD)
        environment["PYTHONPATH"] = str(folder / "guard")

    def run(*command: object) -> str:
        words = [*alone, *map(str, command)]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    reached = subprocess.run([*alone, python, "-c", _REACHES_OUT], cwd=folder, env=environment, capture_output=True)
    assert reached.returncode == 1, "the network can be reached"
    prefix, place = run(python, "-c", _WHERE).split("\n")[:2]
    assert Path(place).is_relative_to(prefix), f"tips_med is imported from {place}"
    run(tips_med, "ground", "sample", "nodule", "--out", "answers", "--quiet")
    told = json.loads(run(tips_med, "doctor", "--json"))
    run(tips_med, "export", "--to", "monai-bundle", "--out", "bundle", "--quiet")
    bundle = folder / "bundle"
    return Trial(
        network="namespace" if alone else "guard",
        report=json.loads((folder / "answers" / "report.json").read_text("utf-8")),
        doctor=told,
        bundle=tuple(sorted(file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file())),
    )


def _without_network() -> list[str]:
    """A command before the command, which leaves it no network; empty where the system has none."""
    if shutil.which("unshare") is None:
        return []
    for command in (
        ["unshare", "--net"],
        ["unshare", "--map-root-user", "--net"],
        ["sudo", "-n", "-E", "unshare", "-n"],
    ):
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


def main(arguments: list[str]) -> int:
    """Runs the trial and prints what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        seen = try_installed(Path(arguments[0]).absolute(), Path(folder))
    versions = {check["name"]: check["found"] for check in seen.doctor["checks"] if check["topic"] == "versions"}
    print(f"Python {versions['Python']}, tips_med {versions['tips_med']}, no network by {seen.network}")
    print(seen.report["answers"][0]["sentence"])
    faults = [check["name"] for check in seen.doctor["checks"] if check["state"] == "fault"]
    print("doctor:", "usable" if seen.doctor["usable"] else f"not usable: {faults}")
    print(f"bundle: {len(seen.bundle)} files")
    return 0 if seen.doctor["usable"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
