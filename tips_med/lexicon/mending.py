"""Typing errors: the one known word that an unknown one must have been meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from tips_med.lexicon.content import Content
from tips_med.lexicon.tokens import words_of

_NEVER = {"left", "right", "both", "bilateral", "bilaterally"}
"""The wrong side is worse than no side: these are never guessed."""
_SHORT, _LONG = 5, 9
"""Shorter words are only mended where letters were left out; from the longer length on, two errors are allowed."""


class Mender:
    """Mends typing errors.

    Args:
        known: Sequences of words that are known.
        expansions: Sequences of words that stand for others.
        content: The lexicon.
    """

    def __init__(
        self, known: Iterable[tuple[str, ...]], expansions: Iterable[tuple[str, ...]], content: Content
    ) -> None:
        negations = {word for texts in content.negation.values() for text in texts for word in words_of(text)}
        words = {word for one in (*known, *expansions) for word in one if len(word) >= _SHORT and word.isalpha()}
        self._words = sorted(words - negations - _NEVER)
        self._named = {word for term in content.terms.values() for form in term.forms for word in form.words}
        self._mend = lru_cache(maxsize=4096)(self._nearest)

    def mend(self, word: str) -> str | None:
        """The known word that differs by one error, or by two in a long word; None where none or several do."""
        return self._mend(word)

    def _nearest(self, word: str) -> str | None:
        most = 2 if len(word) >= _LONG else 1
        found = process.extract(word, self._words, scorer=OSA.distance, score_cutoff=most, limit=8)
        found = [(one, errors) for one, errors, _ in found if one[0] == word[0]]
        if len(word) < _SHORT:
            found = [(one, errors) for one, errors in found if len(one) > len(word)]
        if not found:
            return None
        least = min(errors for _, errors in found)
        nearest = [one for one, errors in found if errors == least]
        nearest = [one for one in nearest if one in self._named] or nearest
        stems = {one.rstrip("s") for one in nearest}
        if len(stems) > 1:
            return None
        return min(nearest, key=lambda one: abs(len(one) - len(word)))
