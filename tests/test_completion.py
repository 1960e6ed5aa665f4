"""Shell completion: the scripts complete commands, options, choices and files in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tips_med import cli
from tips_med.errors import MissingExtraError

# Completes a line as the shell does at a press of the tab key: the function that `complete` has for the command.
_BASH = """
source ./bash
spec=$(complete -p tips-med)
function=$(sed -E 's/.*-F ([^ ]+).*/\\1/' <<< "$spec")
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"$function" tips-med "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bash's script for all commands, scripts of the other shells for one command, and a scan."""
    folder = tmp_path_factory.mktemp("completion")
    command = [sys.executable, "-m", "tips_med.cli", "completion", "bash"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    (folder / "bash").write_text(made.stdout)
    for shell in ("zsh", "fish"):  # making the parser of all commands is slow
        (folder / shell).write_text(cli.build_parser("doctor").get_completion_script(f"shtab-{shell}"))
    (folder / "chest.nii.gz").touch()
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tips-med", "gr"], {"ground"}),
        (["tips-med", "co"], {"compare", "completion", "convert-tips"}),
        (["tips-med", "doctor", "--sk"], {"--skip-speed"}),
        (["tips-med", "ground", "che"], {"chest.nii.gz"}),
        (["tips-med", "ground", "--model", "che"], {"chest.nii.gz"}),
        (["tips-med", "export", "--to", "mo"], {"monai-bundle"}),
        (["tips-med", "completion", "f"], {"fish"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], folder: Path) -> None:
    shell = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", _BASH, "bash", *words],
        cwd=folder, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(shell.stdout.split()) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(folder: Path) -> None:
    asked = "source ./fish; complete --do-complete 'tips-med gr'; complete --do-complete 'tips-med doctor --sk'"
    shell = subprocess.run(
        ["fish", "--no-config", "-c", asked], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert [line.split("\t")[0] for line in shell.stdout.splitlines()] == ["ground", "--skip-speed"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(folder: Path) -> None:
    asked = 'autoload -U compinit; compinit -u -d dump; eval "$(<zsh)"; print -r -- $_comps[tips-med]'
    shell = subprocess.run(
        ["zsh", "-f", "-c", asked], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert shell.stdout.strip() == "_shtab_tips_med"


def test_the_script_reaches_standard_output_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    line = "a line that is longer than any terminal, with [markup] " * 9
    module = __import__(cli.pipeline("completion").__module__, fromlist=["completion"])
    monkeypatch.setattr(module, "build_parser", lambda **_: type("P", (), {"get_completion_script": lambda *_: line})())
    assert cli.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == line + "\n"


def test_a_command_whose_extra_is_missing_is_completed_without_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = cli.pipeline

    def without_extra(name: str):
        if name == "node":
            raise MissingExtraError("archives", "pynetdicom", "pacs")
        return pipeline("inspect")

    monkeypatch.setattr(cli, "pipeline", without_extra)
    monkeypatch.setattr(cli, "_COMMANDS", {"node": "receive studies", "inspect": "list series"})
    script = cli.build_parser(every=True).get_completion_script("shtab-bash")
    assert "_shtab_tips_med_node_option_strings=(-h --help)" in script
    assert "--json" in script


def test_help_imports_no_framework() -> None:
    asked = "import sys; from tips_med.cli import build_parser; build_parser().format_help()"
    heavy = "print(*sorted({'torch', 'monai', 'numpy', 'shtab', 'psutil'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", f"{asked}; {heavy}"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""
