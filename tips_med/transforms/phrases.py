"""Phrases beside their images: what becomes of the words when sides are exchanged, and what is not true instead."""

from __future__ import annotations

from collections.abc import Callable

from tips_med.manifest import OTHER_FINDINGS, other_finding, other_level, other_side
from tips_med.manifest.phrases import OTHER_STRUCTURES, is_mirror_safe, other_attribute, other_structure
from tips_med.query import Lexicon, Query

OFF_MIDLINE = frozenset(
    {
        "heart",
        "pericardium",
        "aorta",
        "ascending_aorta",
        "descending_aorta",
        "aortic_arch",
        "superior_vena_cava",
        "inferior_vena_cava",
        "liver",
        "gallbladder",
        "spleen",
        "stomach",
        "pancreas",
    }
)
"""Structures that there is one of, and not in the middle: their mirror image is in no usual body."""


def mirrored_phrase(query: Query, lexicon: Lexicon) -> str | None:
    """The phrase for the mirror image: sides exchanged, or the phrase as it is where it names none.

    Args:
        query: Parsed phrase.
        lexicon: Lexicon of the phrase.

    Returns:
        The words; None for a phrase without a mirror image: the right middle lobe, the heart, a lesion of the liver.
    """
    places = {query.structure.id} if query.structure is not None else set[str]()
    if query.finding is not None and query.finding.within is not None:
        places.add(query.finding.within)
    if places & OFF_MIDLINE:
        return None
    return query.phrase if is_mirror_safe(query) else other_side(query, lexicon)


def swapped_phrases(query: Query, lexicon: Lexicon) -> list[str]:
    """Phrases that are not true of what a phrase names: another side, level, attribute, finding or organ.

    Args:
        query: Parsed phrase.
        lexicon: Lexicon of the phrase.

    Returns:
        At most one of each kind; each was read back by the lexicon.
    """
    ways: list[Callable[[], str | None]] = [
        lambda: other_side(query, lexicon),
        lambda: other_level(query, lexicon),
        lambda: other_attribute(query, lexicon),
    ]
    if query.finding is not None and query.finding.id in OTHER_FINDINGS:
        finding = OTHER_FINDINGS[query.finding.id]
        ways.append(lambda: other_finding(query, finding, lexicon))
    if query.structure is not None and query.structure.id in OTHER_STRUCTURES:
        organ = OTHER_STRUCTURES[query.structure.id]
        ways.append(lambda: other_structure(query, organ, lexicon))
    return [phrase for way in ways if (phrase := way()) is not None]
