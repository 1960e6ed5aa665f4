"""Several places, sizes or items of one finding: each becomes a question of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tips_med.lexicon.heads import PLACES, Head, around, is_hard
from tips_med.lexicon.matching import Match
from tips_med.lexicon.terms import Term

_JOINTS = ("and", "or", "/", "as well as", "plus", "and/or")


@dataclass
class _Item:
    """A stretch of a list: "6 mm in the lingula (image 70)"."""

    members: list[int] = field(default_factory=list)
    sides: set[str] = field(default_factory=set)
    locations: set[str] = field(default_factory=set)
    structures: set[str] = field(default_factory=set)
    sizes: set[float] = field(default_factory=set)

    def add(self, at: int, match: Match) -> None:
        """Takes one more match in."""
        self.members.append(at)
        if match.role == "measurement" and match.size_mm is not None:
            self.sizes.add(match.size_mm)
        if match.term is None or match.role not in PLACES:
            return
        if match.role == "side":
            self.sides.add(match.term.id)
        elif match.role == "structure":
            self.structures.add(match.term.id)
        elif match.term.kind == "location":
            self.locations.add(match.term.id)
            if match.term.side is not None:
                self.sides.add(match.term.side)

    def take(self, other: _Item) -> None:
        """Takes another item in."""
        self.members += other.members
        for name in ("sides", "locations", "structures", "sizes"):
            getattr(self, name).update(getattr(other, name))


def items_of(head: Head, matches: Sequence[Match], gaps: Sequence[str], terms: Mapping[str, Term]) -> list[list[int]]:
    """Splits the matches of a head into one list for each question.

    Args:
        head: With its range and what it shares.
        matches: Of the sentence.
        gaps: What stands before each match.
        terms: All terms by id.

    Returns:
        Indices in order; what is meant of all items is in each.
    """
    base, items = _Item(), [_Item()]
    mine = sorted({*range(head.first, head.last), *head.shared})
    deep = False
    for at in mine:
        match, gap = matches[at], gaps[at]
        deep = (deep or "(" in gap) and ")" not in gap
        if at == head.at:
            base.add(at, match)
            continue
        joint = match.word in _JOINTS or (any(mark in gap for mark in ",;") and not deep) or is_hard(gap)
        if joint and items[-1].members:
            items.append(_Item())
        items[-1].add(at, match)
    groups: list[_Item] = []
    for item in items:
        if groups and not _apart(groups[-1], item, terms):
            groups[-1].take(item)
        else:
            groups.append(item)
    if len(groups) < 2:
        return [sorted({*base.members, *(at for group in groups for at in group.members)})]
    general = [
        at for at in groups[0].members if matches[at].role not in (*PLACES, "measurement", "citation", "unknown")
    ]
    sides = [at for at in groups[0].members if matches[at].role == "side"]
    found = []
    for number, group in enumerate(groups):
        inherited = general if number else []
        if number and not (group.sides or group.locations or group.structures):
            inherited = [*inherited, *(at for at in groups[0].members if matches[at].role in PLACES)]
        elif number and not group.sides and len(groups[0].sides) == 1 and groups[0].structures:
            # A side that stands with a structure is meant of the next items, too: "in the left lung: 4 mm in the ...".
            inherited = [*inherited, *sides]
        found.append(sorted({*base.members, *inherited, *group.members}))
    return found


def _elsewhere(one: _Item, other: _Item, terms: Mapping[str, Term]) -> bool:
    """Whether a location of one item cannot be in the structure of the other: "hilar or mediastinal"."""
    return any(
        other.structures.isdisjoint({*terms[location].structures, *around_of(terms[location].structures, terms)})
        for location in one.locations
        if terms[location].structures and other.structures
    )


def around_of(structures: Sequence[str], terms: Mapping[str, Term]) -> set[str]:
    """Ids of all that one of the structures is part of."""
    return set().union(*(around(terms[one], terms) for one in structures))


def _apart(one: _Item, other: _Item, terms: Mapping[str, Term]) -> bool:
    """Whether two items of a list are two questions."""
    if one.sizes and other.sizes and not one.sizes & other.sizes:
        return True
    if one.structures and other.structures:
        nested = any(
            a == b or a in around(terms[b], terms) or b in around(terms[a], terms)
            for a in one.structures
            for b in other.structures
        )
        if not nested:
            return True
    if _elsewhere(one, other, terms) or _elsewhere(other, one, terms):
        return True
    if one.sides and other.sides and one.sides != other.sides and "both" not in one.sides | other.sides:
        if one.locations and other.locations:
            return one.locations != other.locations
        return bool(one.structures) and bool(other.locations)
    return False
