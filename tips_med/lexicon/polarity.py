"""What is said of the heads of a sentence: that they are there, not there, perhaps there, or were there once.

Negations and hedges reach as far as a reader lets them: over "or" and over lists, not over "but".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tips_med.errors import QueryError
from tips_med.lexicon.content import Content
from tips_med.lexicon.heads import PREPOSITIONS, Head, is_hard
from tips_med.lexicon.links import Link
from tips_med.lexicon.matching import Match

_QUALIFIERS = ("side", "location", "attribute", "structure", "unchecked")
_DEGREES = ("mild", "moderate", "severe", "tiny", "small", "large", "multiple", "scattered", "patchy")
_VERBS = {"seen", "noted", "present", "observed", "identified", "visible", "demonstrated", "is", "are", "measuring"}


class PolarityReader:
    """Finds what each negation and hedge of a sentence is about.

    Args:
        content: The lexicon.
        matches: Of the sentence; words that deny only a look or a place are marked as unchecked in it.
        gaps: What stands before each match.
        heads: With their ranges; they are filled in.
        links: Between the heads.
        text: For messages.
    """

    def __init__(
        self,
        content: Content,
        matches: list[Match],
        gaps: Sequence[str],
        heads: Sequence[Head],
        links: Sequence[Link],
        text: str,
    ) -> None:
        self.content, self.matches, self.gaps, self.text = content, matches, gaps, text
        self.heads, self.links = heads, links
        self.negations: dict[int, list[int]] = {}

    def read(self) -> None:
        """Fills in the heads.

        Raises:
            QueryError: Something is negated twice.
        """
        for at in range(len(self.matches)):
            match = self.matches[at]
            if match.role == "history" or (match.role in ("negation", "hedge") and match.pattern != "normal"):
                self._apply(at, match, self._targets(at, match))
        for head in self.heads:
            if head.kind == "normal":
                head.negated = True
        for cues in self.negations.values():
            if len(cues) > 1:
                raise QueryError(
                    f"{self.text!r} negates twice",
                    expected="at most one negation",
                    remedy='say it once, as in "no pleural effusion"',
                    code="double-negation",
                )

    def _apply(self, at: int, match: Match, targets: Sequence[int]) -> None:
        for number in targets:
            head = self.heads[number]
            head.cues.add(at)
            term = self.matches[head.at].term
            if match.role == "history":
                head.prior |= term is None or term.id not in self.content.lasting
            elif match.role == "hedge":
                head.hedged = True
            else:
                head.negated = True
                head.hedged |= match.pattern == "hedged"
                self.negations.setdefault(number, []).append(at)

    def _targets(self, at: int, match: Match) -> list[int]:
        """Numbers of the heads that a cue is about."""
        number = self._owner(at)
        if number is None:
            return []
        head = self.heads[number]
        if match.pattern == "exclusion":
            self._only_qualifies(at)
            return []
        if match.word == "versus":
            return [n for n in (number - 1, number) if n >= 0] if at < head.at else [number]
        if at < head.at:
            if match.pattern in ("predicate", "after", "hedged") and number and self._closes_the_one_before(at, number):
                return self._back(number - 1)
            if match.role != "hedge" and self._denies_something_else(at, head):
                return []
            return self._forth(number, match)
        if match.pattern in ("before", "bare") or match.role == "history":
            if match.role == "negation" and self._denies_something_else(at, None):
                return []
            if match.role == "hedge" and self._denies_something_else(at, None, mark=False):
                return []
        return self._back(number)

    def _owner(self, at: int) -> int | None:
        return next((n for n, head in enumerate(self.heads) if head.first <= at < head.last), None)

    def _closes_the_one_before(self, at: int, number: int) -> bool:
        """Whether "not seen" after a border still belongs to the head before it: "effusion, not seen, and nodule"."""
        head = self.heads[number]
        return any(self.matches[here].role in _QUALIFIERS or "," in self.gaps[here] for here in range(at + 1, head.at))

    def _denies_something_else(self, at: int, head: Head | None, mark: bool = True) -> bool:
        """Whether a negation is of a look, a place or the patient's history, and not of a head that follows it."""
        until = head.at if head is not None else len(self.matches)
        bare = self.matches[at].pattern == "bare"
        others: list[int] = []
        for here in range(at + 1, until):
            match, gap = self.matches[here], self.gaps[here]
            ends = is_hard(gap) or ":" in gap or ("," in gap and bool(others))
            ends |= match.role == "negation" or (match.role == "hedge" and head is None) or match.pattern == "contrary"
            if ends and others and (head is None or any(self._foreign(one) for one in others) or is_hard(gap)):
                break
            if match.pattern == "context" or match.role in (*_QUALIFIERS, "unknown"):
                others.append(here)
            if head is None and others and match.word in PREPOSITIONS and here > others[0]:
                break
        else:
            if head is not None:
                first = next((here for here in others if self.matches[here].role in _QUALIFIERS), None)
                if first is None or first != at + 1 or not bare:
                    return False
                if self.matches[first].role not in ("attribute", "side", "location"):
                    return False
                others = [first]
        if not others:
            return False
        if mark:
            self._mark(at, others)
        return True

    def _foreign(self, at: int) -> bool:
        return self.matches[at].pattern == "context" or self.matches[at].role == "unknown"

    def _only_qualifies(self, at: int) -> None:
        """Marks "except the left lung" as not checked."""
        others = []
        for here in range(at + 1, len(self.matches)):
            match = self.matches[here]
            if match.role in ("finding", "negation", "hedge") or is_hard(self.gaps[here]) or "," in self.gaps[here]:
                break
            if match.role in _QUALIFIERS:
                others.append(here)
        self._mark(at, others)

    def _mark(self, at: int, others: Sequence[int]) -> None:
        # Words about the patient need no check: only what describes the finding is told.
        role = "unchecked" if any(self.matches[here].role in _QUALIFIERS for here in others) else "function"
        for here in (at, *others):
            one = self.matches[here]
            if one.role != "unknown" and one.pattern != "context":
                pattern = "filler" if role == "function" else "denied"
                self.matches[here] = replace(one, role=role, term=None, pattern=pattern, silent=True)

    def _forth(self, number: int, match: Match) -> list[int]:
        reached = [number]
        for other in range(number + 1, len(self.heads)):
            if not self._reaches(other, match):
                break
            reached.append(other)
        return reached

    def _reaches(self, number: int, match: Match) -> bool:
        """Whether a cue before one head reaches the next one, too."""
        link, head, before = self.links[number - 1], self.heads[number], self.heads[number - 1]
        if link.stop or link.own_cue or head.kind == "normal" or "with" in link.words or before.kind == "normal":
            return False
        if any(
            self.matches[at].pattern in ("predicate", "after", "hedged") and self.matches[at].role == match.role
            for at in range(before.at + 1, before.last)
        ):
            return False
        if link.either:
            return True
        pre = [self.matches[at] for at in range(head.first, head.at)]
        strong = any(
            one.role in ("measurement", "comparison")
            or one.word in ("a", "an")
            or (one.term is not None and one.term.id in _DEGREES)
            for one in pre
        )
        if link.both:
            return not strong
        if not link.comma:
            return match.role == "negation" and not link.words
        listed = self._list_goes_on(number)
        if match.role == "hedge" or match.role == "history":
            return listed and not strong
        told = any(
            self.matches[at].role == "measurement" or self.matches[at].word in _VERBS
            for at in range(head.at + 1, head.last)
        )
        placed = any(one.role in ("side", "location") for one in pre)
        return listed or not (strong or told or placed)

    def _list_goes_on(self, number: int) -> bool:
        for link in self.links[number:]:
            if link.stop or link.own_cue:
                return False
            if link.either or link.both:
                return link.bare or link.either
            if not link.comma:
                return False
        return False

    def _back(self, number: int) -> list[int]:
        reached = [number]
        while number > 0:
            link, before = self.links[number - 1], self.heads[number - 1]
            cued = any(
                self.matches[at].role in ("negation", "hedge") and self.matches[at].pattern != "normal"
                for at in range(before.first, before.last)
            )
            listed = link.joined or (link.comma and len(reached) > 1)
            if link.stop or link.own_cue or cued or not listed or before.kind == "normal" or "with" in link.words:
                break
            number -= 1
            reached.append(number)
        return reached
