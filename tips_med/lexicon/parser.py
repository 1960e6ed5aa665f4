"""Understands a text by longest matches, and refuses what a map could not honour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tips_med.errors import QueryError
from tips_med.lexicon.meaning import Match, resolve
from tips_med.lexicon.terms import Term
from tips_med.lexicon.tokens import Token, tokenize
from tips_med.lexicon.understanding import PhraseWord, Query, Role, Span

MAX_CHARACTERS = 300
EXAMPLES = '"ground-glass opacity left lung", "nodule in the right upper lobe" or "no pleural effusion"'
_LEVELS = {"upper", "middle", "mid", "lower"}
_PARTS = {"lobe": "lobe", "lobes": "lobe", "zone": "zone", "zones": "zone", "third": "third", "thirds": "third"}
_JOINTS = {"and", "or", "/", "to"}
_RANK: tuple[Role, ...] = (
    "finding",
    "location",
    "structure",
    "side",
    "attribute",
    "negation",
    "hedge",
    "measurement",
    "unknown",
    "function",
)
_AWAY = {
    "from",
    "away",
    "above",
    "below",
    "beneath",
    "behind",
    "deep",
    "distal",
    "proximal",
    "cranial",
    "caudal",
    "off",
}
"""Words that make the length before them a distance."""

_MUTE = ("negation", "hedge", "measurement", "unknown")


@dataclass(frozen=True)
class Entry:
    """One meaning of a sequence of words.

    Attributes:
        role: Role of the words in a query.
        term: Term that the words name, if any.
        pattern: Form of a negation or hedge: ``before``, ``bare``, ``predicate``, ``after``, ``hedged`` or
            ``exclusion``; of a function word: ``filler`` if it is left out of the phrase.
    """

    role: Role
    term: Term | None
    pattern: str = ""

    @property
    def in_phrase(self) -> bool:
        """Whether the words are among those that a text tower gets."""
        return self.role not in _MUTE and self.pattern != "filler"


class Parser:
    """Parses texts with a fixed set of words.

    Args:
        entries: Meanings of sequences of words.
        expansions: Sequences of words that stand for others: abbreviations, spellings.
        terms: All terms by id.
        suggest: Function that returns known words spelled like an unknown one.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, ...], tuple[Entry, ...]],
        expansions: Mapping[tuple[str, ...], tuple[str, ...]],
        terms: Mapping[str, Term],
        suggest: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._entries, self._expansions, self._terms, self._suggest = entries, expansions, terms, suggest
        self._longest = max((len(words) for words in (*entries, *expansions)), default=1)

    def parse(self, text: str, *, as_written: bool = False) -> Query:
        """Understands a text; see ``Lexicon.parse``."""
        if not isinstance(text, str) or not text.strip():
            raise QueryError("the query is empty", expected="what to look for", remedy=f"try {EXAMPLES}")
        if len(text) > MAX_CHARACTERS:
            raise QueryError(
                f"the query has {len(text)} characters",
                expected=f"at most {MAX_CHARACTERS}",
                remedy="query one finding at a time",
                code="query-too-long",
            )
        matches = _attributes_where_a_finding_is(self._match(_joined_levels(self._expand(tokenize(text)))))
        suggestions = tuple(
            (text[match.start : match.end], near)
            for match in matches
            if match.role == "unknown" and len(match.words) == 1 and (near := self._suggest(match.words[0]))
        )
        spans, span_of = _spans(text, matches)
        words = tuple(
            PhraseWord(word, span_of[index])
            for index, match in enumerate(matches)
            if match.role not in _MUTE and match.pattern != "filler"
            for word in (match.words if as_written else _said(match))
        )
        return resolve(Query(text, spans=spans, words=words, suggestions=suggestions), matches, self._terms)

    def _expand(self, tokens: list[Token]) -> list[Token]:
        """Writes abbreviations out; the words of one abbreviation all keep its place in the text."""
        expanded, at = [], 0
        while at < len(tokens):
            length = self._longest_at(tokens, at, self._expansions)
            if length:
                words = self._expansions[tuple(token.word for token in tokens[at : at + length])]
                start, end = tokens[at].start, tokens[at + length - 1].end
                expanded += [Token(word, start, end) for word in words]
            else:
                expanded.append(tokens[at])
            at += max(length, 1)
        return expanded

    def _match(self, tokens: list[Token]) -> list[Match]:
        matches, at = [], 0
        while at < len(tokens):
            token = tokens[at]
            length = 0 if token.size_mm is not None else self._longest_at(tokens, at, self._entries)
            part = tokens[at : at + max(length, 1)]
            words = tuple(one.word for one in part)
            start, end = min(one.start for one in part), max(one.end for one in part)
            if token.size_mm is not None:
                matches.append(Match("measurement", words, start, end, size_mm=token.size_mm))
            elif not length:
                matches.append(Match("unknown", words, start, end))
            else:
                first, *others = self._entries[words]
                matches.append(
                    Match(
                        first.role,
                        words,
                        start,
                        end,
                        term=first.term,
                        pattern=first.pattern,
                        attribute=next((entry.term for entry in others if entry.role == "attribute"), None),
                    )
                )
            at += len(part)
        return _without_distances(_with_non(matches))

    def _longest_at(self, tokens: list[Token], at: int, known: Mapping[tuple[str, ...], object]) -> int:
        """How many tokens from ``at`` make the longest known sequence; 0 if none does."""
        for length in range(min(self._longest, len(tokens) - at), 0, -1):
            if tuple(token.word for token in tokens[at : at + length]) in known:
                return length
        return 0


def _said(match: Match) -> tuple[str, ...]:
    """The words for a text tower: the term's usual words replace a held-out synonym."""
    if match.term is None:
        return match.words
    return match.term.taught(match.words)


def _joined_levels(tokens: list[Token]) -> list[Token]:
    """Completes "upper and lower lobes" and "upper left lobe": each level gets its own "lobe"."""
    joined = list(tokens)
    at = 0
    while at < len(joined):
        if joined[at].word in _LEVELS and at + 1 < len(joined) and joined[at + 1].word not in _PARTS:
            ahead = at + 1
            while ahead < len(joined) and joined[ahead].word in _LEVELS | _JOINTS | {"left", "right"}:
                ahead += 1
            if ahead < len(joined) and joined[ahead].word in _PARTS:
                part = joined[ahead]
                if joined[at + 1].word in ("left", "right") and ahead == at + 2:
                    joined[at : ahead + 1] = [joined[at + 1], joined[at], part]
                    at += 2
                else:
                    joined.insert(at + 1, Token(_PARTS[part.word], joined[at].start, joined[at].end))
        at += 1
    return joined


def _with_non(matches: list[Match]) -> list[Match]:
    """Keeps "non-spiculated" from being understood as spiculated: together with its "non" it is unknown."""
    kept: list[Match] = []
    for match in matches:
        before = kept[-1] if kept else None
        if before is not None and before.role == "unknown" and before.words[-1] == "non":
            kept[-1] = Match("unknown", (*before.words, *match.words), before.start, match.end)
        else:
            kept.append(match)
    return kept


def _without_distances(matches: list[Match]) -> list[Match]:
    """Keeps "5 mm from the pleura" from being a size and a place: the length and what it counts from are unknown."""
    kept: list[Match] = []
    at = 0
    while at < len(matches):
        match = matches[at]
        ahead = at + 1
        if match.role == "measurement" and ahead < len(matches) and matches[ahead].words[0] in _AWAY:
            while ahead < len(matches) and matches[ahead].role in ("function", "unknown"):
                ahead += 1
            while ahead < len(matches) and matches[ahead].role in ("side", "location", "attribute", "structure"):
                ahead += 1
                if matches[ahead - 1].role == "structure":
                    break
            part = matches[at:ahead]
            words = tuple(word for one in part for word in one.words)
            kept.append(Match("unknown", words, match.start, max(one.end for one in part)))
        else:
            kept.append(match)
            ahead = at + 1
        at = ahead
    return kept


def _attributes_where_a_finding_is(matches: list[Match]) -> list[Match]:
    """Reads "ground-glass" as what a finding is like where another finding is named, as in "ground-glass nodule"."""
    if not any(match.role == "finding" and match.attribute is None for match in matches):
        return matches
    return [
        replace(match, role="attribute", term=match.attribute)
        if match.role == "finding" and match.attribute is not None
        else match
        for match in matches
    ]


def _spans(text: str, matches: list[Match]) -> tuple[tuple[Span, ...], list[int]]:
    """Spans in the order of the text, and for each match the span it is in.

    Matches that come from one abbreviation ("LLL") share a span, which has the role of the weightiest of them.
    """
    order = sorted(range(len(matches)), key=lambda index: (matches[index].start, matches[index].end))
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
