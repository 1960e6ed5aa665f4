"""The release workflow and the bill of materials."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.packaging.conftest import ROOT
from tips_med.extras import EXTRAS

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOME = 12
"""Packages whose JSON is checked by the schema here, which takes long for all; `make sbom` checks all."""


@pytest.fixture(scope="module")
def workflow() -> dict:
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    pytest.importorskip("cyclonedx_py", reason="needs tips-med[release]")
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bill(sbom: ModuleType) -> dict:
    return sbom.bill_of(Path(sys.executable))


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("check-jsonschema", ["--builtin-schema", "vendor.github-workflows"]),
        ("zizmor", ["--offline", "--no-progress", "--persona", "pedantic"]),
    ],
)
def test_the_workflow_is_linted(program: str, arguments: list[str]) -> None:
    found = Path(sys.executable).with_name(program)
    if not found.exists():
        pytest.skip("needs tips-med[release]")
    linted = subprocess.run([found, *arguments, WORKFLOW], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_actions_are_pinned_by_commit(workflow: dict) -> None:
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert len(used) > 8
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)


def test_the_wheel_is_tried_on_every_python_that_is_promised(workflow: dict) -> None:
    promised = {line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    job = workflow["jobs"]["try"]
    assert set(job["strategy"]["matrix"]["python"]) == promised
    assert "tests/packaging/trial.py" in job["steps"][-1]["run"]


def test_only_a_tag_publishes_and_only_what_was_tried_and_signed(workflow: dict) -> None:
    jobs = workflow["jobs"]
    for name in ("sign", "publish"):
        assert jobs[name]["if"] == "github.ref_type == 'tag'"
    assert set(jobs["sign"]["needs"]) == {"build", "try"}
    assert jobs["publish"]["needs"] == "sign"
    assert workflow["permissions"] == {}
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["sign", "publish"]


def test_the_bill_of_a_release_covers_what_users_install(workflow: dict) -> None:
    (step,) = (step for step in workflow["jobs"]["build"]["steps"] if "SBOM" in step.get("name", ""))
    (names,) = re.findall(r"\[([a-z,]+)\]", step["run"])
    assert set(names.split(",")) == set(EXTRAS)


def test_the_bill_holds_every_pinned_package_with_its_version_and_licence(sbom: ModuleType, bill: dict) -> None:
    held = {sbom._canonical(part["name"]): part for part in bill["components"]}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    here = {sbom._canonical(name) for name in sbom._metadata(Path(sys.executable))}
    pinned = {sbom._canonical(name): version for name, version in pins.items() if sbom._canonical(name) in here}
    assert len(pinned) > 50
    assert set(pinned) <= set(held)
    # Only a build of torch has a version of its own; in a clean environment every other one is as pinned.
    assert held["torch"]["version"].partition("+")[0] == pinned["torch"]
    assert sbom.unlicensed({"components": [held[name] for name in pinned]}) == []
    assert bill["metadata"]["component"]["name"] == "tips_med"
    assert re.fullmatch(r"\d+\.\d+\.\d+", bill["metadata"]["component"]["version"])


def test_a_package_without_a_licence_is_told(sbom: ModuleType, bill: dict) -> None:
    part = {"name": "nobody-knows", "version": "1", "type": "library"}
    assert sbom.unlicensed(bill | {"components": [*bill["components"], part]})[-1] == "nobody-knows"


def test_the_bill_keeps_to_the_schema(sbom: ModuleType, bill: dict) -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation.xml import XmlValidator

    some = bill["components"][:SOME]
    kept = {part["bom-ref"] for part in some} | {bill["metadata"]["component"]["bom-ref"]}
    links = [
        one | {"dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in kept]}
        for one in bill["dependencies"]
        if one["ref"] in kept
    ]
    assert sbom.fault_of(bill | {"components": some, "dependencies": links}) is None
    assert sbom.fault_of(bill | {"components": [{"name": "no type"}], "dependencies": []}) is not None
    whole = Bom.from_json(json.loads(json.dumps(bill)))  # type: ignore[attr-defined]
    text = make_outputter(whole, OutputFormat.XML, SchemaVersion.V1_6).output_as_string()
    assert XmlValidator(SchemaVersion.V1_6).validate_str(text) is None
