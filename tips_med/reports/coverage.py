"""How much of a set of reports is understood, and which words are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tips_med.reports.statements import Report


@dataclass(frozen=True)
class Coverage:
    """Sums over reports.

    Attributes:
        reports: How many.
        sentences: Sentences about the scan.
        used: Those that gave a statement.
        statements: What they state.
        refused: Sentences that contradict themselves, by code.
        unknown: Words that are not in the lexicon, with how many reports they stand in. Only words of two or more
            reports, in small letters: what stands in one report alone may be a name.
    """

    reports: int
    sentences: int
    used: int
    statements: int
    refused: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the sentences that gave a statement."""
        return self.used / self.sentences if self.sentences else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: getattr(self, name) for name in Coverage.__dataclass_fields__}


def cover(reports: Iterable[Report], least: int = 2) -> Coverage:
    """Sums up.

    Args:
        reports: As they were read.
        least: In how many reports an unknown word has to stand to be named.
    """
    kept = list(reports)
    words: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for report in kept:
        words.update(set(report.unknown))
        refused.update(report.refused)
    known = {word: count for word, count in words.most_common() if count >= least}
    return Coverage(
        len(kept),
        sum(report.sentences for report in kept),
        sum(report.used for report in kept),
        sum(len(report.statements) for report in kept),
        dict(refused),
        known,
    )
