"""Every extra is told in the documentation, and every error that names one names one that is there."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from tests.packaging.conftest import ROOT
from tips_med import cli
from tips_med.extras import _EXTRA_OF_MODULE, EXTRAS

DEVELOPERS = {"dev", "docs", "release", "test"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ROW = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.MULTILINE)


def test_the_documentation_names_every_extra() -> None:
    page = (ROOT / "docs" / "installing.md").read_text("utf-8")
    rows = dict(ROW.findall(page[page.index("## Extras") : page.index("## The doctor")]))
    assert set(rows) == set(PROJECT["optional-dependencies"])
    assert {name: rows[name].split(";")[0] for name in EXTRAS} == EXTRAS


def test_extras_are_for_users_or_for_developers() -> None:
    assert set(EXTRAS) | DEVELOPERS == set(PROJECT["optional-dependencies"])


def test_every_error_names_an_extra_that_is_there() -> None:
    named = set()
    for file in [*(ROOT / "tips_med").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtraError":
                extra = node.args[2]
                if isinstance(extra, ast.Constant):
                    named.add(extra.value)
                else:  # from the table that the next test goes through
                    assert file.name == "cli.py"
    assert named <= set(EXTRAS)
    assert named >= {"figures", "hub", "pacs", "tips"}


@pytest.mark.parametrize("module", sorted(_EXTRA_OF_MODULE))
def test_a_command_that_needs_an_extra_says_so(module: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=f"{module}.inner")

    monkeypatch.setattr(cli, "import_module", missing)
    assert cli.main(["node", "--folder", "f"]) == 2
    said = capsys.readouterr().err
    assert f"{module}.inner, which is not installed" in said
    assert f"pip install 'tips-med[{_EXTRA_OF_MODULE[module]}]'" in said
    assert _EXTRA_OF_MODULE[module] in EXTRAS


def test_a_module_of_no_extra_is_a_bug_and_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'no_such'", name="no_such")

    monkeypatch.setattr(cli, "import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["node", "--folder", "f"])


def test_every_extra_that_is_named_in_a_text_is_there() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "tips_med").rglob("*.py")]:
        for names in re.findall(r"tips[-_]med\[([a-z,]+)\]", file.read_text("utf-8")):
            assert set(names.split(",")) <= set(PROJECT["optional-dependencies"]), file.name
