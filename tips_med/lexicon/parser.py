"""Understands a text: each of its questions is found, and what a map could not honour is told or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tips_med.errors import QueryError
from tips_med.lexicon.content import Content
from tips_med.lexicon.foreign import refuse_foreign
from tips_med.lexicon.heads import JOINTS, Head, SentenceReader, gaps_of, is_hard
from tips_med.lexicon.links import set_ranges, share
from tips_med.lexicon.matching import Match, Matcher
from tips_med.lexicon.meaning import nothing_to_find, refuse_nothing, refuse_several, resolve
from tips_med.lexicon.places import items_of
from tips_med.lexicon.polarity import PolarityReader
from tips_med.lexicon.terms import Term
from tips_med.lexicon.understanding import PhraseWord, Query, Role, Span

MAX_CHARACTERS = 300
MAX_WORDS = 30
EXAMPLES = '"ground-glass opacity left lung", "nodule in the right upper lobe" or "no pleural effusion"'
_RANK: tuple[Role, ...] = (
    "finding",
    "location",
    "structure",
    "side",
    "attribute",
    "negation",
    "hedge",
    "history",
    "comparison",
    "measurement",
    "citation",
    "unchecked",
    "unknown",
    "function",
)
_JOINTS = JOINTS - {"with"} | {"but", "also"}
_SUBJECTS = ("finding", "structure")


@dataclass(frozen=True)
class _Question:
    """One question of a text: its head, and the matches that belong to it."""

    head: Head
    members: tuple[Match, ...]
    finding: Term | None


class Parser:
    """Parses texts with a fixed set of words.

    Args:
        content: The lexicon.
        matcher: Finds its words.
        suggest: Gives known words that are written like an unknown one.
    """

    def __init__(self, content: Content, matcher: Matcher, suggest: Callable[[str], tuple[str, ...]]) -> None:
        self._content, self._matcher, self._suggest = content, matcher, suggest
        self._formerly = frozenset(content.formerly)

    def parse(self, text: str, *, as_written: bool = False) -> Query:
        """Understands a text that is one question; see ``Lexicon.parse``."""
        queries = self.parse_each(text, as_written=as_written)
        if len(queries) > 1:
            raise refuse_several(text, queries)
        return queries[0]

    def parse_each(self, text: str, *, as_written: bool = False, limit: int | None = MAX_CHARACTERS) -> list[Query]:
        """Understands every question of a text; see ``Lexicon.parse_each``."""
        if not isinstance(text, str) or not text.strip():
            raise QueryError("the query is empty", expected="what to look for", remedy=f"try {EXAMPLES}")
        if limit is not None and len(text) > limit:
            raise QueryError(
                f"the query has {len(text)} characters",
                expected=f"at most {limit}",
                remedy="ask one finding at a time",
                code="query-too-long",
            )
        matches = self._without_former_sizes(self._matcher.match(text))
        refuse_foreign(text, matches)
        refuse_nothing(Query(text, suggestions=self._suggestions(text, matches)), matches)
        questions: list[_Question] = []
        for part in _sentences(text, matches):
            questions += self._questions(text, part)
        if not questions:
            raise nothing_to_find(text)
        if len(questions) == 1:
            only = questions[0]
            read = {(own.start, own.end, own.words): own for own in only.members}
            members = tuple(read.get((match.start, match.end, match.words), match) for match in matches)
            return [self._query(text, _Question(only.head, members, only.finding), as_written, whole=True)]
        return [self._query(text, question, as_written, whole=False) for question in questions]

    def _questions(self, text: str, part: list[Match]) -> list[_Question]:
        gaps = gaps_of(text, part)
        gaps[0] = ""
        heads = SentenceReader(self._content, part, gaps).heads()
        if not heads:
            return []
        links = set_ranges(heads, part, gaps)
        PolarityReader(self._content, part, gaps, heads, links, text).read()
        share(heads, links, part, gaps)
        found: list[_Question] = []
        for head in heads:
            term = part[head.at].term
            finding = term if head.kind == "finding" else None
            if head.kind == "normal":
                finding = self._content.terms.get("abnormality")
            cues = {at for at in head.cues if not head.first <= at < head.last}
            for item in items_of(head, part, gaps, self._content.terms):
                members = [part[at] for at in sorted({*item, *cues})]
                found.append(_Question(head, tuple(self._placing(members, part[head.at], head.kind)), finding))
        return found

    def _placing(self, members: list[Match], head: Match, kind: str) -> list[Match]:
        """Where a structure is looked for itself, the others only place it: "mediastinal lymph nodes"."""
        if kind == "finding" or head.term is None or head.term.id not in self._content.objects:
            return members
        return [
            replace(one, role="location", silent=True) if one.role == "structure" and one is not head else one
            for one in members
        ]

    def _without_former_sizes(self, matches: list[Match]) -> list[Match]:
        """Marks the size on another scan, as in "previously 28 mm", as a comparison."""
        kept = list(matches)
        former = False
        for at, match in enumerate(kept):
            if match.role == "measurement":
                if former:
                    kept[at] = replace(match, role="comparison", size_mm=None)
            elif match.word in self._formerly and any(one.role == "measurement" for one in kept[:at]):
                former = True
            elif match.role not in ("function", "comparison", "unknown"):
                former = False
        return kept

    def _suggestions(self, text: str, matches: Sequence[Match]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple(
            (text[match.start : match.end], near)
            for match in matches
            if match.role == "unknown" and len(match.words) == 1 and (near := self._suggest(match.words[0]))
        )

    def _query(self, text: str, question: _Question, as_written: bool, *, whole: bool) -> Query:
        members = question.members
        start, end = (0, len(text)) if whole else (members[0].start, max(match.end for match in members))
        if not whole:
            text, members = _composed(text, _trimmed(members))
        spans, span_of = _spans(text, members)
        words = [
            PhraseWord(word, span_of[index])
            for index, match in enumerate(members)
            if match.in_phrase
            for word in (match.words if as_written else _said(match))
        ]
        if len(words) > MAX_WORDS:
            words = [word for word in words if spans[word.span].role != "function"][:MAX_WORDS]
        if not words and (place := _implied(members, self._content)) is not None:
            words = [PhraseWord(word, 0) for word in place.forms[0].words]
        query = Query(
            text,
            spans=spans,
            words=tuple(words),
            suggestions=self._suggestions(text, members),
            negated=question.head.negated,
            hedged=question.head.hedged,
            prior=question.head.prior,
            mended=_mended(text, members),
            source=(start, end),
        )
        return resolve(query, members, question.finding, self._content.terms)


def _implied(members: Sequence[Match], content: Content) -> Term | None:
    """The structure of a place whose own words do not reach the text tower."""
    ids = (one for match in members if match.term is not None for one in (*match.term.structures, match.term.within))
    return next((content.terms[one] for one in ids if one), None)


def matches_order(match: Match) -> tuple[int, int]:
    """Orders matches as they stand in the text."""
    return match.start, match.end


def _sentences(text: str, matches: list[Match]) -> list[list[Match]]:
    """The matches by sentence; a sentence that names nothing to look for belongs to the one before."""
    gaps = gaps_of(text, matches)
    parts: list[list[Match]] = []
    for match, gap in zip(matches, gaps):
        if not parts or is_hard(gap):
            parts.append([])
        parts[-1].append(match)
    joined: list[list[Match]] = []
    for part in parts:
        says = any(match.role in _SUBJECTS or match.pattern == "normal" for match in part)
        says |= any(match.role == "location" and match.term is not None and match.term.structures for match in part)
        last_says = bool(joined) and any(match.role in _SUBJECTS for match in joined[-1])
        only_more = not any(match.role in _SUBJECTS for match in part)
        if joined and (not says or (only_more and last_says) or not last_says):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _trimmed(members: Sequence[Match]) -> tuple[Match, ...]:
    """Without the joints that only led to it, or on from it."""
    kept = [match for match in members if match.role != "function" or match.word not in _JOINTS]
    inner = [
        match
        for at, match in enumerate(members)
        if match.role == "function"
        and match.word in _JOINTS
        and any(other.role in ("side", "location", "attribute", "structure") for other in members[at - 1 : at])
        and any(other.role in ("side", "location", "attribute", "structure") for other in members[at + 1 : at + 2])
    ]
    return tuple(match for match in members if match in kept or match in inner)


def _composed(text: str, members: Sequence[Match]) -> tuple[str, tuple[Match, ...]]:
    """The text of one question of several: its own pieces, in order."""
    composed, end, moves = "", 0, 0
    shift: dict[int, int] = {}
    for match in sorted(members, key=matches_order):
        if match.start >= end:
            gap = text[end : match.start]
            composed += (gap if gap.isspace() or gap in ("-", ", ", ": ") else " ") if composed else ""
            moves = len(composed) - match.start
        shift[match.start] = moves
        composed += text[max(end, match.start) : match.end]
        end = max(end, match.end)
    moved = (replace(one, start=one.start + shift[one.start], end=one.end + shift[one.start]) for one in members)
    return composed, tuple(moved)


def _mended(text: str, members: Sequence[Match]) -> tuple[tuple[str, str], ...]:
    pairs = [(text[match.start : match.end], match.word) for match in members if match.mended]
    return tuple(dict.fromkeys(pairs))


def _said(match: Match) -> tuple[str, ...]:
    """The words for a text tower: a synonym that training never saw is said in the term's usual words."""
    return match.words if match.term is None else match.term.taught(match.words)


def _spans(text: str, matches: Sequence[Match]) -> tuple[tuple[Span, ...], list[int]]:
    """Spans in the order of the text, and for each match the span it is in.

    Matches that come from one abbreviation ("LLL") share a span, which has the role of the weightiest of them.
    """
    order = sorted(range(len(matches)), key=lambda index: matches_order(matches[index]))
    groups: list[list[int]] = []
    end = -1
    for index in order:
        if matches[index].start < end:
            groups[-1].append(index)
        else:
            groups.append([index])
        end = max(end, matches[index].end)
    span_of = [0] * len(matches)
    spans = []
    for number, group in enumerate(groups):
        for index in group:
            span_of[index] = number
        head = min((matches[index] for index in group), key=lambda match: _RANK.index(match.role))
        start, stop = min(matches[index].start for index in group), max(matches[index].end for index in group)
        spans.append(Span(text[start:stop], head.role, head.term.id if head.term else None, start, stop))
    return tuple(spans), span_of
