"""The wheels of the distributions in ``integrations``, and code that is run from them alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INTEGRATIONS = ROOT / "integrations"


def build_wheel(name: str, out: Path) -> Path:
    """Builds the wheel of a distribution.

    Args:
        name: Its folder in ``integrations``.
        out: Folder to put it into.
    """
    pytest.importorskip("build", reason="needs tips-med[release]")
    pytest.importorskip("hatchling", reason="needs tips-med[release]")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(out),
        str(INTEGRATIONS / name),
    ]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    (wheel,) = out.glob("*.whl")
    return wheel


def held(wheel: Path) -> set[str]:
    """The files of the packages in a wheel."""
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def files_of(name: str, package: str) -> set[str]:
    """The files of a package in the repository, as its wheel should name them."""
    folder = INTEGRATIONS / name
    return {
        file.relative_to(folder).as_posix()
        for file in (folder / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def metadata(wheel: Path) -> Message:
    """What a wheel says about itself."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(opened.read(name).decode())


def run_from(wheels: list[Path], code: str, forbidden: tuple[str, ...], folder: Path) -> str:
    """Runs code that imports from wheels alone; what is forbidden cannot be imported. Returns what it prints."""
    before = f"import sys; sys.path[:0] = {[str(one) for one in wheels]}\n"
    before += "".join(f"sys.modules[{name!r}] = None\n" for name in forbidden)
    ran = subprocess.run(
        [sys.executable, "-I", "-c", before + code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout
