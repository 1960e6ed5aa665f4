"""The wheel holds all that it needs, is small, and works in an empty folder without repository and network."""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import jsonschema
import pytest

import tips_med
from tests.packaging.conftest import ROOT, Built
from tests.packaging.trial import try_installed
from tips_med.exporters.report import schema

MOST_MB, MOST_SOURCE_MB = 30, 40  # the source has the pictures of the documentation and the tests besides


def files_below(folder: Path, name: str) -> set[str]:
    """The files of a folder of the repository, as a wheel should name them."""
    return {
        f"{name}/{file.relative_to(folder).as_posix()}"
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Built) -> None:
    expected = files_below(ROOT / "tips_med", "tips_med")
    expected |= files_below(ROOT / "pipelines", "tips_med/pipelines")
    expected |= files_below(ROOT / "radiology_configs", "tips_med/radiology_configs")
    with zipfile.ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert held == expected
    kinds = {Path(name).suffix for name in held}
    assert kinds >= {".safetensors", ".gz", ".yaml", ".json", ".md", ".py"}


def test_the_wheel_is_small(built: Built) -> None:
    assert built.wheel.stat().st_size <= MOST_MB * 1_000_000
    assert built.sdist.stat().st_size <= MOST_SOURCE_MB * 1_000_000


def test_the_version_has_one_source(built: Built) -> None:
    assert built.wheel.name == f"tips_med-{tips_med.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        about = message_from_string(wheel.read(name).decode())
    assert about["Version"] == tips_med.__version__
    assert about["License-Expression"] == "Apache-2.0"
    assert f"version: {tips_med.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_sdist_can_be_tested(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    for needed in ("tests/conftest.py", "pipelines/ground.py", "constraints.txt", "docs/index.md", "pyproject.toml"):
        assert needed in held


@pytest.mark.shipped
def test_it_works_in_an_empty_folder_without_repository_and_network(installed: Path, tmp_path: Path) -> None:
    seen = try_installed(installed, tmp_path)
    jsonschema.validate(seen.report, schema())
    assert seen.report["answers"][0]["query"] == "nodule"
    assert seen.doctor["usable"]
    checks = {check["name"]: check for check in seen.doctor["checks"]}
    assert checks["weights"]["data"]["sha256"] == seen.report["model"]["weights_sha256"]
    assert checks["tips_med"]["found"] == tips_med.__version__
    assert checks["bfloat16"]["data"]["float32_ms"] > 0
    assert {"configs/metadata.json", "models/model.pt"} <= set(seen.bundle)
