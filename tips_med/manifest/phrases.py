"""Phrases with one word changed: for mirrored images, hard negatives and swap tests.

Every phrase that comes out was read back by the lexicon, and means what it should; None where no phrase does.
"""

from __future__ import annotations

from tips_med.errors import QueryError
from tips_med.lexicon.tokens import words_of
from tips_med.query import Lexicon, Query, Role

_SIDES = {"left": "right", "right": "left"}
_LEVELS = {"upper": "lower", "lower": "upper", "apical": "basal", "basal": "apical"}


OTHER_FINDINGS = {
    "nodule": "pleural_effusion",
    "mass": "pleural_effusion",
    "lesion": "pneumothorax",
    "ground_glass_opacity": "pleural_effusion",
    "consolidation": "pneumothorax",
    "pleural_effusion": "mass",
    "pneumothorax": "consolidation",
}
"""For findings, another one that cannot be true of the same voxels: for swap tests and hard negatives."""


def other_side(query: Query, lexicon: Lexicon) -> str | None:
    """The phrase with left and right exchanged; None for one without a side, or whose other side does not exist.

    A phrase of both sides is its own mirror image and is not changed here. A right middle lobe has no counterpart.
    """
    if query.side not in _SIDES:
        return None
    return _read_back(query, _replaced(query, ("side", "location"), _SIDES), lexicon, side=_SIDES[query.side])


def other_level(query: Query, lexicon: Lexicon) -> str | None:
    """The phrase with upper and lower (or apical and basal) exchanged; None for one without a level."""
    changed = _replaced(query, ("location",), _LEVELS)
    return _read_back(query, changed, lexicon, side=query.side, locations_change=True)


def other_finding(query: Query, finding: str, lexicon: Lexicon) -> str | None:
    """The phrase with its finding replaced by another term; None for a phrase without a finding.

    Args:
        query: What was asked.
        finding: Id of the other term.
        lexicon: The language.
    """
    if query.finding is None or query.finding.id == finding:
        return None
    new = list(words_of(lexicon.term(finding).name))
    words: list[str] = []
    for word in query.words:
        span = query.spans[word.span]
        if span.role != "finding":
            words.append(word.text)
        elif new:
            words, new = words + new, []
    try:
        read = lexicon.parse(" ".join(words))
    except QueryError:
        return None
    same = read.finding is not None and read.finding.id == finding and read.side == query.side
    return read.phrase if same and not read.unknown_words else None


def is_mirror_safe(query: Query) -> bool:
    """Whether a phrase stays true of a mirrored image without any change: it names no side at all."""
    return query.side in (None, "both")


def _replaced(query: Query, roles: tuple[Role, ...], pairs: dict[str, str]) -> list[str]:
    return [
        pairs.get(word.text, word.text) if query.spans[word.span].role in roles else word.text for word in query.words
    ]


def _read_back(
    query: Query, words: list[str], lexicon: Lexicon, side: str | None, locations_change: bool = False
) -> str | None:
    phrase = " ".join(words)
    if phrase == query.phrase:
        return None
    try:
        read = lexicon.parse(phrase)
    except QueryError:
        return None
    same = (
        read.finding == query.finding and read.side == side and (read.locations != query.locations) == locations_change
    )
    return read.phrase if same and not read.unknown_words else None
