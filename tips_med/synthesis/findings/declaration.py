"""What synthesis and training have to know of a finding, declared in one place: beside its painter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tips_med.synthesis.findings.canvas import Painted

Painter = Callable[..., Painted | None]
"""Called with a ``Canvas`` (and, for most, ``side=``); paints into it, or gives None where there is no room."""


@dataclass(frozen=True)
class Finding:
    """A finding that can be painted. Its words, codes and display window are those of its term in the lexicon.

    A package adds one by an entry point of the group ``tips_med.findings`` that names such an object.

    Attributes:
        term: Id of its term in the lexicon.
        paint: Painter of the finding.
        mistaken_for: Terms that it is mistaken for: training queries these where this one is, to separate them.
        indistinct_from: Terms that readers cannot reliably distinguish from it on this grid: where one of these is, it
            is unknown whether this one is there, too.
        first: Whether it is painted before others, because it takes the lung's place.
        last: Whether it is painted after others: it is all over the lung, and would cut what came later to pieces.
    """

    term: str
    paint: Painter
    mistaken_for: tuple[str, ...] = ()
    indistinct_from: tuple[str, ...] = ()
    first: bool = False
    last: bool = False

    @property
    def turn(self) -> int:
        """When it is painted: findings with lower numbers come first."""
        return int(self.last) - int(self.first)
