"""Proposals for a lexicon: words that reports hold and the lexicon does not, with what they may mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tips_med.configs import config_names
from tips_med.errors import OutputError
from tips_med.folders import whole_file
from tips_med.lexicon import Lexicon
from tips_med.reports.coverage import Coverage


@dataclass(frozen=True)
class Proposal:
    """A word that a lexicon does not know.

    Attributes:
        word: As it is written, lowercase.
        reports: How many reports hold it.
        nearest: Known words that are written like it, the nearest first; maybe none.
    """

    word: str
    reports: int
    nearest: tuple[str, ...]


def propose(coverage: Coverage, lexicon: Lexicon) -> list[Proposal]:
    """The unknown words of reports, the most frequent first."""
    return [Proposal(word, count, lexicon.suggest(word)) for word, count in coverage.unknown.items()]


def write_proposals(proposals: Sequence[Proposal], lexicon: Lexicon, path: Path) -> Path:
    """Writes proposals as a lexicon that extends the shipped one; each is a comment until a person says that it holds.

    Raises:
        OutputError: It cannot be written there.
    """
    base = lexicon.name if lexicon.name in config_names("lexicons") else "chest_ct"
    like = [one for one in proposals if one.nearest]
    lines = [
        "# Proposed entries. Each is a comment: take the mark away from what is right, and change the rest.",
        "# Words that mean nothing for a scan belong under filler, findings under terms.",
        f"extends: {base}",
        "",
        "# Other spellings and other words for what is known.",
        "readings:",
        *(f"  # {one.word}: {one.nearest[0]}  # in {one.reports} reports" for one in like),
        "",
        "# Findings of their own, which can then be asked for and trained.",
        "# terms:",
        "#   finding:",
        *(
            f"#     {one.word}: {{forms: [{one.word}]}}  # in {one.reports} reports"
            for one in proposals
            if not one.nearest
        ),
        "",
        "# Words without a meaning of their own.",
        "filler:",
        *(f"  # - {one.word}  # in {one.reports} reports" for one in proposals),
        "",
    ]
    try:
        with whole_file(path) as partial:
            partial.write_text("\n".join(lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", path=path) from error
    return path
