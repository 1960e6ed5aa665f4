"""Every extra is told in the documentation, and every error that names one names one that is there."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.packaging.conftest import ROOT
from tips_med.extras import EXTRAS

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
                assert isinstance(extra, ast.Constant), f"{file.name}:{node.lineno}"
                named.add(extra.value)
    assert named <= set(EXTRAS)
    assert {"codecs", "figures", "hub", "pacs", "tips", "torchio"} & named >= {"figures", "hub", "pacs", "tips"}


def test_every_extra_that_is_named_in_a_text_is_there() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "tips_med").rglob("*.py")]:
        for names in re.findall(r"tips[-_]med\[([a-z,]+)\]", file.read_text("utf-8")):
            assert set(names.split(",")) <= set(PROJECT["optional-dependencies"]), file.name
