"""Which words of a sentence belong to which of its heads, and what the heads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tips_med.lexicon.heads import JOINTS, PLACES, PREPOSITIONS, Head, is_hard
from tips_med.lexicon.matching import Match
from tips_med.lexicon.terms import Term

_BEFORE = ("before", "bare")
_STARTS = {"there", "there is", "there are", "is there", "are there"}


@dataclass(frozen=True)
class Link:
    """What stands between two heads.

    Attributes:
        words: Its function words.
        comma: Whether there is a comma.
        stop: Whether what was said before is over: "but", "there is", a full stop.
        own_cue: Whether the second head has a negation or hedge before it.
        bare: Whether the second head stands without article, size, look or place of its own before it.
    """

    words: frozenset[str]
    comma: bool
    stop: bool
    own_cue: bool
    bare: bool

    @property
    def either(self) -> bool:
        """Whether it joins by "or"."""
        return not self.words.isdisjoint({"or", "nor", "/", "and/or", "versus"})

    @property
    def both(self) -> bool:
        """Whether it joins by "and"."""
        return not self.words.isdisjoint({"and", "as well as", "plus", "along with", "and/or"})

    @property
    def joined(self) -> bool:
        """Whether it joins at all."""
        return self.either or self.both


def set_ranges(heads: Sequence[Head], matches: Sequence[Match], gaps: Sequence[str]) -> list[Link]:
    """Gives each head the range of its matches.

    Returns:
        For each head but the first, the link to the one before.
    """
    links = []
    for head in heads:
        head.first, head.last = 0, len(matches)
    for one, other in pairwise(heads):
        border = _border(one.at, other.at, matches, gaps)
        one.last = other.first = border
        links.append(_link(one, other, matches, gaps))
    return links


def _border(one: int, other: int, matches: Sequence[Match], gaps: Sequence[str]) -> int:
    """Index of the first match that belongs to the second head."""
    borders = [at for at in range(one + 1, other + 1) if _parts(at, matches, gaps)]
    while len(borders) > 1 and not is_hard(gaps[borders[-1]]) and _joins_qualifiers(borders[-1], matches, gaps):
        borders.pop()
    if borders:
        return borders[-1]
    between = range(one + 1, other)
    if any(matches[at].word in PREPOSITIONS for at in between):
        return max((at + 1 for at in between if matches[at].role in PLACES), default=other)
    return one + 1


def _parts(at: int, matches: Sequence[Match], gaps: Sequence[str]) -> bool:
    match, gap = matches[at], gaps[at]
    if any(mark in gap for mark in ",:()") or " - " in gap or is_hard(gap):
        return True
    if match.role in ("negation", "hedge", "history"):
        return match.pattern in (*_BEFORE, "history") or match.role == "history"
    return match.word in JOINTS or match.word in _STARTS or match.pattern in ("contrary", "relation")


def _joins_qualifiers(at: int, matches: Sequence[Match], gaps: Sequence[str]) -> bool:
    """Whether a joint only joins two sides, two places or two looks, as in "left and right"."""
    joint = matches[at].word in JOINTS - {"with"}
    if not joint and "," not in gaps[at]:
        return False
    before, after = at - 1, at + 1 if joint else at
    if after >= len(matches) or before < 0:
        return False
    roles = matches[before].role, matches[after].role
    return roles[0] == roles[1] and roles[0] in (*PLACES, "attribute")


def _link(one: Head, other: Head, matches: Sequence[Match], gaps: Sequence[str]) -> Link:
    between = range(one.at + 1, other.at)
    pre = range(other.first, other.at)
    words = frozenset(matches[at].word for at in range(one.at + 1, other.at) if matches[at].role == "function")
    words |= frozenset(matches[at].word for at in between if matches[at].word == "versus")
    words |= frozenset("/" for at in range(one.at + 1, other.at + 1) if gaps[at] == "-")
    stop = any(matches[at].pattern == "contrary" for at in between) or not words.isdisjoint(_STARTS)
    stop |= any(is_hard(gaps[at]) for at in range(one.at + 1, other.at + 1))
    own = any(matches[at].role in ("negation", "hedge", "history") for at in pre)
    bare = all(
        matches[at].role in ("function", "hedge", "negation") and matches[at].word not in ("a", "an", "there")
        for at in pre
    )
    comma = any("," in gaps[at] for at in range(one.at + 1, other.at + 1))
    return Link(words, comma, stop, own, bare)


def share(heads: Sequence[Head], links: Sequence[Link], matches: Sequence[Match], gaps: Sequence[str]) -> None:
    """Lets heads share a side and a place, where a person would read it so."""
    own = [_places(range(head.first, head.last), head, matches) for head in heads]
    _share_label(heads, own, matches, gaps)
    for number in range(len(heads) - 1, 0, -1):
        _share_back(number, heads, own, links, matches, gaps)
    for number in range(1, len(heads)):
        before, head, link = heads[number - 1], heads[number], links[number - 1]
        if own[number] or head.kind != "finding":
            continue
        without = _denied_by_without(head, matches)
        listed = link.joined or (link.comma and _closes(number, links))
        if before.kind == "normal" and (without or listed or "of" in link.words):
            _give(head, [before.at, *own[number - 1]], matches, own, number)
        elif _is_meaning(head, link, matches) or "versus" in link.words:
            _give(head, own[number - 1], matches, own, number)
        elif (
            listed
            and link.bare
            and not link.stop
            and (not link.own_cue)
            and "with" not in link.words
            and (before.at > min(own[number - 1], default=before.at + 1) or before.shared)
        ):
            leading = [at for at in own[number - 1] if at < before.at]
            _give(head, leading, matches, own, number)


def _share_label(heads: Sequence[Head], own: list[list[int]], matches: Sequence[Match], gaps: Sequence[str]) -> None:
    """What stands before a colon, or at the beginning with a preposition, is about all that follows."""
    if len(heads) < 2:
        return
    first = heads[0]
    pre = range(first.first, first.at)
    colon = next((at for at in range(first.first + 1, first.at + 1) if ":" in gaps[at]), None)
    until = colon
    if until is None and any(matches[at].word in PREPOSITIONS for at in list(pre)[:1]):
        ends = (at for at in pre if at > first.first and (matches[at].word in _STARTS or "," in gaps[at]))
        until = next(ends, None)
    if until is None:
        return
    label = [at for at in own[0] if at < until]
    for number, head in enumerate(heads[1:], start=1):
        if not own[number]:
            _give(head, label, matches, own, number)


def _share_back(
    number: int,
    heads: Sequence[Head],
    own: list[list[int]],
    links: Sequence[Link],
    matches: Sequence[Match],
    gaps: Sequence[str],
) -> None:
    """A place after the last of several findings is meant of all: "consolidation or collapse in the left lung"."""
    head, link, before = heads[number], links[number - 1], heads[number - 1]
    after = [at for at in own[number] if at > head.at or at in head.shared]
    if not after or own[number - 1] or before.kind == "normal" or link.stop or head.kind == "normal":
        return
    if any(at < head.at for at in own[number]):
        return
    pre = range(head.first, head.at)
    blocked = any(
        matches[at].word in ("a", "an") or matches[at].role == "measurement" or matches[at].count for at in pre
    ) or any(matches[at].role == "measurement" for at in range(head.at, head.last))
    if blocked or not (link.joined or "with" in link.words or (link.comma and _closes(number, links))):
        return
    if link.own_cue and "versus" not in link.words:
        return
    _give(before, after, matches, own, number - 1)


def _give(head: Head, places: Sequence[int], matches: Sequence[Match], own: list[list[int]], number: int) -> None:
    term = matches[head.at].term
    given = [at for at in places if fits(term, matches[at])]
    head.shared += given
    own[number] = sorted({*own[number], *given})


def fits(finding: Term | None, place: Match) -> bool:
    """Whether a place that was said of another finding can be one of this finding."""
    if finding is None or finding.within is None or place.role == "side":
        return finding is None or finding.within not in ("pericardium", "mediastinum") or place.role != "side"
    return place.term is not None and (
        finding.within in (place.term.id, *place.term.structures) and place.role != "structure"
    )


def _places(where: range, head: Head, matches: Sequence[Match]) -> list[int]:
    return [at for at in where if matches[at].role in PLACES and at != head.at]


def _closes(number: int, links: Sequence[Link]) -> bool:
    """Whether a list with commas ends with "and" or "or": then all of it is one list."""
    for link in links[number - 1 :]:
        if link.joined:
            return not link.stop
        if not link.comma or link.stop:
            return False
    return False


def _denied_by_without(head: Head, matches: Sequence[Match]) -> bool:
    return any(matches[at].words[:1] == ("without",) for at in range(head.first, head.at))


def _is_meaning(head: Head, link: Link, matches: Sequence[Match]) -> bool:
    """Whether a head says what the one before may be: "opacity, likely atelectasis"."""
    hedged = any(matches[at].role == "hedge" for at in range(head.first, head.at))
    return hedged and not link.stop and not link.both
