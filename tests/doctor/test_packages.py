"""Versions and extras: what is missing or unfit is told with the command that mends it."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import tips_med
from tips_med.doctor.packages import extras, imports, own_version, packages, python_version
from tips_med.extras import EXTRAS

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def of_extra(need: str, extra: str) -> str:
    package, _, marker = need.partition(";")
    return f"{package}; ({marker}) and extra == '{extra}'" if marker else f"{package}; extra == '{extra}'"


REQUIRES = [
    *PROJECT["dependencies"],
    *(of_extra(need, name) for name, needs in PROJECT["optional-dependencies"].items() for need in needs),
]
"""As the metadata of the installed package has them."""


def installed(**versions: str | None):
    """Versions of these packages, and 99 of all others; None for one that is missing."""

    def version_of(name: str) -> str:
        version = versions.get(name.lower().replace("-", "_"), "99")
        if version is None:
            raise PackageNotFoundError(name)
        return version

    return version_of


def test_all_that_is_needed_is_listed_in_one_check() -> None:
    (check,) = packages(REQUIRES, installed(torch="2.13.0+cpu"))
    assert check.state == "ok"
    assert check.data["versions"]["torch"] == "2.13.0+cpu"
    assert "matplotlib" not in check.data["versions"]
    assert len(check.data["versions"]) == len(PROJECT["dependencies"])


def test_a_version_that_is_too_old_is_a_fault_with_the_command_that_mends_it() -> None:
    _, check = packages(REQUIRES, installed(numpy="1.26.4"))
    assert (check.name, check.state) == ("numpy", "fault")
    assert check.found == "1.26.4; needed is >=2.0"
    assert check.advice == "run: pip install 'numpy>=2.0'"


def test_a_missing_package_is_a_fault() -> None:
    _, check = packages(REQUIRES, installed(monai=None))
    assert (check.name, check.state, check.found) == ("monai", "fault", "not installed")
    assert "pip install 'monai>=1.6'" in check.advice


def test_a_prerelease_of_a_package_is_taken_as_it_is() -> None:
    (check,) = packages(["torch>=2.6"], installed(torch="2.14.0.dev20261101"))
    assert check.state == "ok"


def test_each_extra_says_what_it_is_for() -> None:
    checks = {check.name: check for check in extras(REQUIRES, installed())}
    assert set(checks) == set(EXTRAS)
    assert all(check.state == "ok" and check.found.startswith(EXTRAS[name]) for name, check in checks.items())


def test_a_missing_extra_is_a_choice_and_so_is_one_of_which_other_packages_brought_a_part() -> None:
    checks = {check.name: check for check in extras(REQUIRES, installed(torchio=None, pyjpegls=None))}
    assert checks["torchio"].state == "missing"
    assert checks["torchio"].advice == "to have it, run: pip install 'tips-med[torchio]'"
    assert checks["codecs"].state == "missing"
    assert checks["codecs"].found.endswith("not installed (lacks pyjpegls)")
    assert checks["codecs"].advice == "to have it, run: pip install 'tips-med[codecs]'"


def test_figures_are_missed_since_ground_writes_them() -> None:
    checks = {check.name: check for check in extras(REQUIRES, installed(matplotlib=None))}
    assert checks["figures"].state == "hint"


def test_an_extra_with_an_old_package_is_told() -> None:
    checks = {check.name: check for check in extras(REQUIRES, installed(transformers="5.0.0"))}
    assert checks["tips"].state == "hint"
    assert "transformers 5.0.0 is not >=5.23" in checks["tips"].found


def test_an_extra_that_names_other_extras_needs_what_they_need() -> None:
    requires = ["tips_med[b]; extra == 'figures'", "matplotlib>=3.9; extra == 'b'"]
    checks = {check.name: check for check in extras(requires, installed(matplotlib=None))}
    assert "matplotlib" in checks["figures"].data["versions"]


def test_code_and_installation_of_two_versions_are_a_fault() -> None:
    assert own_version(installed(tips_med=tips_med.__version__)).state == "ok"
    check = own_version(installed(tips_med="0.0.1"))
    assert check.state == "fault"
    assert "0.0.1 is installed" in check.found
    assert "pip uninstall tips-med" in check.advice
    assert own_version(installed(tips_med=None)).state == "hint"


def test_a_python_that_is_too_old_is_a_fault() -> None:
    assert python_version(PROJECT["requires-python"], "3.13.0").state == "ok"
    check = python_version(PROJECT["requires-python"], "3.9.18")
    assert check.state == "fault"
    assert ">=3.11" in check.advice


def test_what_cannot_be_imported_is_told() -> None:
    assert imports() == []
    (check,) = imports(("errors", "no_such_part"))
    assert check.state == "fault"
    assert "No module named 'tips_med.no_such_part'" in check.found


@pytest.mark.parametrize("name", EXTRAS)
def test_the_extras_for_users_are_those_of_the_project(name: str) -> None:
    assert name in PROJECT["optional-dependencies"]
