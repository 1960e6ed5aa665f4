"""What a sentence is about: its heads. Words are first read in the light of their neighbours.

A head is a finding, a structure that is called normal, or, where there is neither, a structure or a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from tips_med.lexicon.content import Content
from tips_med.lexicon.matching import Match
from tips_med.lexicon.terms import Term

PLACES = ("side", "location", "structure")
PREPOSITIONS = {"in", "at", "of", "on", "within", "involving", "throughout", "across", "from", "through"}
JOINTS = {"and", "or", "nor", "/", "as well as", "plus", "along with", "and/or", "with", "versus", "in addition to"}
_HARD = ".;!?\n\u2022"
_GLUE = ("function", "side", "attribute", "location", "unknown", "unchecked")
_SMALL_THINGS = ("nodule", "mass", "lesion", "opacity", "cyst")
_CARRIERS = {"with", "containing", "contains", "showing", "shows", "demonstrating", "and"}


@dataclass
class Head:
    """Something that a sentence speaks of, with the matches that belong to it.

    Attributes:
        at: Index of its match.
        kind: Whether it is a finding, a structure (or place) by itself, or a structure that is called normal.
        first: Index of the first match that belongs to it.
        last: Index after the last one.
        shared: Indices of matches elsewhere that are meant of it, too: the side in "left effusion and atelectasis".
        cues: Indices of the negations and hedges that are about it.
        negated: Whether it is said not to be there.
        hedged: Whether it is said not to be certain.
        prior: Whether it is only said to have been there once.
    """

    at: int
    kind: Literal["finding", "structure", "normal"]
    first: int = 0
    last: int = 0
    shared: list[int] = field(default_factory=list)
    cues: set[int] = field(default_factory=set)
    negated: bool = False
    hedged: bool = False
    prior: bool = False


def gaps_of(text: str, matches: Sequence[Match]) -> list[str]:
    """What stands before each match: spaces and punctuation; nothing where it shares its text with another one."""
    gaps, end = [], 0
    for match in matches:
        gaps.append(text[end : match.start] if match.start > end else "")
        end = max(end, match.end)
    return gaps


def is_hard(gap: str) -> bool:
    """Whether a new sentence begins after this punctuation."""
    return any(mark in gap for mark in _HARD)


class SentenceReader:
    """Reads the words of one sentence in the light of their neighbours, and finds its heads.

    Args:
        content: The lexicon.
        matches: Of one sentence; it is changed in place.
        gaps: What stands before each match.
    """

    def __init__(self, content: Content, matches: list[Match], gaps: Sequence[str]) -> None:
        self.content, self.matches, self.gaps = content, matches, gaps
        self.terms: Mapping[str, Term] = content.terms

    def heads(self) -> list[Head]:
        """The heads in order, not yet with their ranges."""
        self._adjectives_of_structures()
        self._looks_beside_findings()
        self._places_after_relations()
        self._combined()
        normal = self._normal()
        heads = [Head(at, "normal") for at in normal]
        for at, match in enumerate(self.matches):
            if match.role == "finding":
                heads.append(Head(at, "finding"))
            elif at not in normal and self._is_object(at):
                heads.append(Head(at, "structure"))
        if not heads:
            heads = [Head(at, "structure") for at in self._structures_alone()]
        return sorted(heads, key=lambda head: head.at)

    def _adjectives_of_structures(self) -> None:
        """Reads "hepatic" in "hepatic vessels" as a place: the vessels are meant."""
        for at, (one, other) in enumerate(pairwise(self.matches)):
            if one.role == other.role == "structure" and one.term is not None and other.term is not None:
                adjective = any(form.number == "adjective" and form.words == one.words for form in one.term.forms)
                nested = one.term.id in around(other.term, self.terms) or other.term.id in around(one.term, self.terms)
                if adjective and not nested and one.term != other.term and "," not in self.gaps[at + 1]:
                    self.matches[at] = replace(one, role="location", silent=True)

    def _looks_beside_findings(self) -> None:
        """Reads "ground-glass" in "ground-glass nodule" and "calcification" in "nodule with calcification" as looks."""
        for at, match in enumerate(self.matches):
            if match.role != "finding" or match.term is None:
                continue
            if match.attribute is not None and self._is_adjective(at):
                self.matches[at] = replace(match, role="attribute", term=match.attribute)
                continue
            look = self.content.looks.get(match.term.id)
            if look and self._is_carried(at):
                self.matches[at] = replace(match, role="attribute", term=self.terms[look])

    def _is_adjective(self, at: int) -> bool:
        """Whether a word that is a finding or a look stands with another finding, as in "ground-glass nodule"."""
        for step in (1, -1):
            comma = joint = look = False
            here = at + step
            while 0 <= here < len(self.matches):
                match, gap = self.matches[here], self.gaps[max(here, here - step)]
                if is_hard(gap) or (gap.strip(" -\t") and not set(gap) <= set(" ,-()")):
                    break
                comma |= "," in gap or "(" in gap
                if match.role == "finding":
                    small = match.term is not None and match.term.id in _SMALL_THINGS
                    if match.attribute is None and (not joint or (look and step == 1)) and (not comma or small):
                        return True
                    break
                if match.role == "attribute":
                    look |= joint
                elif match.word in JOINTS:
                    joint = True
                elif match.role in ("negation", "hedge", "history") or match.pattern in ("relation", "contrary"):
                    break
                here += step
        return False

    def _is_carried(self, at: int) -> bool:
        """Whether a finding only describes the one before it, as after "nodule with"."""
        carried = False
        for here in range(at - 1, -1, -1):
            match = self.matches[here]
            if "," in self.gaps[here + 1] or is_hard(self.gaps[here + 1]):
                return False
            if match.role == "finding":
                glassy = self.matches[at].attribute is not None
                small = match.term is not None and match.term.id in _SMALL_THINGS
                return carried and (small or not glassy) and not self._has_own_place(at)
            if match.role == "negation" or match.word in _CARRIERS - {"and"}:
                carried = True
            elif match.role not in ("function", "attribute") or match.word in JOINTS:
                return False
        return False

    def _has_own_place(self, at: int) -> bool:
        for here in range(at + 1, len(self.matches)):
            match = self.matches[here]
            if match.role == "finding" or is_hard(self.gaps[here]) or "," in self.gaps[here]:
                return False
            if match.role == "structure" and match.term is not None and match.term.id != "lung":
                return True
        return False

    def _places_after_relations(self) -> None:
        """Reads a structure that only says where something is, as after "adjacent to", as a place."""
        for at, match in enumerate(self.matches):
            if match.pattern != "relation":
                continue
            before = any(one.role in ("finding", "structure") for one in self.matches[:at])
            if not before and not any(one.role == "finding" for one in self.matches):
                continue
            for here in range(at + 1, len(self.matches)):
                one = self.matches[here]
                if is_hard(self.gaps[here]) or one.pattern in ("contrary", "relation"):
                    break
                if one.role == "structure":
                    self.matches[here] = replace(one, role="location", silent=True)
                elif one.role not in _GLUE or one.word in ("with", "there"):
                    break

    def _combined(self) -> None:
        """Reads "enlarged" and "heart" together as the finding that they are, wherever they stand."""
        for look, structure, finding in self.content.combined:
            for at, match in enumerate(self.matches):
                if match.role != "structure" or match.term is None or match.term.id != structure:
                    continue
                for other in self._near(at, look):
                    self.matches[at] = replace(match, role="finding", term=self.terms[finding])
                    self.matches[other] = replace(self.matches[other], role="function", pattern="filler", term=None)

    def _near(self, at: int, look: str) -> list[int]:
        found = []
        for step in (-1, 1):
            here = at + step
            while 0 <= here < len(self.matches):
                match, gap = self.matches[here], self.gaps[max(here, here - step)]
                if is_hard(gap) or match.role == "finding" or match.pattern in ("normal", "contrary", "relation"):
                    break
                if match.role == "attribute" and match.term is not None and match.term.id == look:
                    found.append(here)
                    break
                here += step
        return found[:1]

    def _normal(self) -> list[int]:
        """Indices of the structures that are called normal; the words that say so are marked as used."""
        found: list[int] = []
        for at, match in enumerate(self.matches):
            if match.pattern != "normal":
                continue
            mine = self._structures_from(at, -1) or self._structures_from(at, 1)
            mine = [one for one in mine if one not in found]
            found += self._most_specific(mine)
        return sorted(found)

    def _structures_from(self, at: int, step: int) -> list[int]:
        mine: list[int] = []
        here = at + step
        while 0 <= here < len(self.matches):
            match, gap = self.matches[here], self.gaps[max(here, here - step)]
            stop = match.role in ("finding", "negation", "hedge", "measurement") or match.pattern == "contrary"
            if is_hard(gap) or stop or match.word in ("with", "there", "there is", "there are"):
                break
            if step == 1 and "," in gap and not mine:
                break
            if match.role == "structure":
                mine.append(here)
            here += step
        return mine

    def _most_specific(self, places: Sequence[int]) -> list[int]:
        """Without those that only hold another one, as the chest holds the lung."""
        terms = [self.matches[at].term for at in places]
        kept: list[int] = []
        for at, term in zip(places, terms):
            if term is None or any(self.matches[one].term == term for one in kept):
                continue
            if not any(other is not None and term.id in around(other, self.terms) for other in terms):
                kept.append(at)
        return kept

    def _is_object(self, at: int) -> bool:
        """Whether a structure is looked for itself, as a lymph node is, and does not only place something."""
        match = self.matches[at]
        if match.role != "structure" or match.term is None or match.term.id not in self.content.objects:
            return False
        for here in range(at - 1, -1, -1):
            one = self.matches[here]
            if one.word in PREPOSITIONS:
                return False
            if one.role not in ("side", "location", "attribute", "structure") and one.word not in ("a", "an", "the"):
                return True
        return True

    def _structures_alone(self) -> list[int]:
        places = [at for at, match in enumerate(self.matches) if match.role == "structure"]
        if places:
            return self._most_specific(places)
        implied = [at for at, match in enumerate(self.matches) if match.role == "location" and match.term is not None]
        implied = [at for at in implied if (term := self.matches[at].term) is not None and term.structures]
        return implied[:1]


def around(structure: Term, terms: Mapping[str, Term]) -> set[str]:
    """Ids of the structures that a structure is part of."""
    found: set[str] = set()
    while structure.within is not None and structure.within not in found:
        found.add(structure.within)
        structure = terms[structure.within]
    return found
