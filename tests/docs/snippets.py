"""The snippets of the documentation: fenced blocks, and command lines wherever they stand."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("*/*.md"))]
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+?) -->")
_FENCE = re.compile(r"```(?P<language>python|sh)$")


@dataclass(frozen=True)
class Snippet:
    """A fenced block.

    Attributes:
        page: Relative to the root of the repository.
        line: Of its first line of code, from 1.
        language: ``python`` or ``sh``.
        text: What it says.
        not_run: Why it cannot be run here, from ``<!-- not run: WHY -->`` above it; empty for what is run.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str


def snippets(path: Path) -> list[Snippet]:
    """All fenced blocks of Python and of shell of a page, in order."""
    found: list[Snippet] = []
    lines = path.read_text("utf-8").splitlines()
    why, at = "", 0
    while at < len(lines):
        line = lines[at]
        if marked := _NOT_RUN.match(line):
            why = marked["why"]
        elif fence := _FENCE.match(line):
            end = lines.index("```", at)
            text = "\n".join(lines[at + 1 : end]) + "\n"
            found.append(Snippet(path.relative_to(ROOT).as_posix(), at + 2, fence["language"], text, why))
            why, at = "", end
        elif line.strip():
            why = ""
        at += 1
    return found


def commands(text: str) -> list[list[str]]:
    """The command lines of a text that call tips-med, split into words; comments and optional parts taken away."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in joined.splitlines():
        line = line.strip().strip("`")
        if line.startswith("tips-med ") and len(line) > 9:
            found.append(shlex.split(line.replace("[", "").replace("]", "").replace(" ...", ""), comments=True))
    return found


def page_commands(path: Path) -> list[list[str]]:
    """All command lines of a page, in indented or fenced blocks or alone in backticks."""
    text = path.read_text("utf-8")
    inline = "\n".join(re.sub(r"\s+", " ", code) for code in re.findall(r"(?<!`)`(tips-med [^`]+)`(?!`)", text))
    blocks = "\n".join(line for line in text.splitlines() if line.startswith(("    ", "tips-med ")))
    return commands(blocks) + commands(inline)
