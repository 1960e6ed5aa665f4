"""Proposes entries for a lexicon, from words of reports that it does not know."""

from __future__ import annotations

from pathlib import Path

from tips_med.lexicon import Lexicon
from tips_med.manifest.reports import read_report_file
from tips_med.reports import cover, read_report
from tips_med.reports.proposals import propose, write_proposals


def propose_terms(reports: Path, out: Path, lexicon: str = "chest_ct", least: int = 2) -> Path:
    """Writes a lexicon that extends another one, with proposals as comments, the most frequent words first.

    Args:
        reports: A CSV with the columns scan and report.
        out: The YAML file to write.
        lexicon: The lexicon to extend: a name, or a YAML file.
        least: In how many reports a word has to stand; a word of one report alone may be a name.

    Returns:
        The file. Take the comment mark from what you want, and load it with --lexicon.
    """
    known = Lexicon.load(lexicon)
    coverage = cover((read_report(entry.text, known) for entry in read_report_file(reports)), max(least, 2))
    return write_proposals(propose(coverage, known), known, out)
