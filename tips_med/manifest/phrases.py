"""Phrases with one word changed: for mirrored images, hard negatives and swap tests.

Every phrase that comes out was read back by the lexicon, and means what it should; None where no phrase does.
"""

from __future__ import annotations

from tips_med.errors import QueryError
from tips_med.lexicon.tokens import words_of
from tips_med.query import Lexicon, Query, Role, Term

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


OTHER_STRUCTURES = {
    "lung": "liver",
    "hemithorax": "liver",
    "pleura": "liver",
    "liver": "lung",
    "spleen": "lung",
    "kidney": "lung",
    "adrenal": "lung",
    "pancreas": "lung",
    "heart": "liver",
    "mediastinum": "liver",
    "bone": "lung",
    "rib": "spine",
    "spine": "lung",
    "vertebra": "lung",
    "aorta": "lung",
    "thyroid": "liver",
}
"""For structures, another one that has no voxel in common: for hard negatives."""

OTHER_ATTRIBUTES = {
    "solid": "ground_glass",
    "part_solid": "solid",
    "ground_glass": "solid",
    "well_defined": "ill_defined",
    "ill_defined": "well_defined",
    "spiculated": "well_defined",
    "tiny": "large",
    "small": "large",
    "large": "small",
    "focal": "diffuse",
    "diffuse": "focal",
}
"""For attributes, another one that is not true of the same finding: for hard negatives."""


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
        query: Parsed phrase.
        finding: Id of the other term.
        lexicon: Lexicon of the phrase.
    """
    if query.finding is None or query.finding.id == finding:
        return None
    read = _with_term(query, query.finding, lexicon.term(finding), lexicon)
    same = read is not None and read.finding is not None and read.finding.id == finding and read.side == query.side
    return read.phrase if read is not None and same and not read.unknown_words else None


def other_structure(query: Query, structure: str, lexicon: Lexicon) -> str | None:
    """The phrase with its structure replaced by another term; None for one that names none, or a place only it has.

    The side goes with the structure where the other one has none: a mass of the left lung is none of the liver.

    Args:
        query: Parsed phrase.
        structure: Id of the other term.
        lexicon: Lexicon of the phrase.
    """
    if query.structure is None or query.structure.id == structure or query.locations:
        return None
    term = lexicon.term(structure)
    read = _with_term(query, query.structure, term, lexicon, without=() if term.paired else ("side",))
    same = (
        read is not None
        and read.structure is not None
        and read.structure.id == structure
        and read.finding == query.finding
        and read.side == (query.side if term.paired else None)
    )
    return read.phrase if read is not None and same and not read.unknown_words else None


def other_attribute(query: Query, lexicon: Lexicon) -> str | None:
    """The phrase with its first attribute that has an opposite replaced by it; None for one without."""
    for term in query.attributes:
        other = OTHER_ATTRIBUTES.get(term.id)
        if other is None or any(one.id == other for one in query.attributes):
            continue
        read = _with_term(query, term, lexicon.term(other), lexicon)
        if read is None or read.unknown_words:
            continue
        ids = {one.id for one in read.attributes}
        if other in ids and term.id not in ids and (read.finding, read.side) == (query.finding, query.side):
            return read.phrase
    return None


def _with_term(query: Query, old: Term, new: Term, lexicon: Lexicon, without: tuple[Role, ...] = ()) -> Query | None:
    """The phrase with one term's words replaced by another's name, read again; None where it cannot be read."""
    name = list(words_of(new.name))
    words: list[str] = []
    for word in query.words:
        span = query.spans[word.span]
        if span.term_id == old.id:
            words, name = words + name, []
        elif span.role not in without:
            words.append(word.text)
    try:
        return lexicon.parse(" ".join(words)) if not name else None
    except QueryError:
        return None


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
