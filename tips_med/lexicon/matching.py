"""From tokens to matches: abbreviations written out, typing errors mended, the longest known words first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tips_med.lexicon.terms import Term
from tips_med.lexicon.tokens import Citation, Token, tokenize
from tips_med.lexicon.understanding import Role

_LEVELS = {"upper", "middle", "mid", "lower"}
_PARTS = {"lobe": "lobe", "lobes": "lobe", "zone": "zone", "zones": "zone", "third": "third", "thirds": "third"}
_JOINTS = {"and", "or", "/", "to"}
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
"""After a length these say that it is a distance."""

MUTE: tuple[Role, ...] = (
    "negation",
    "hedge",
    "history",
    "comparison",
    "measurement",
    "citation",
    "unchecked",
    "unknown",
)
"""Roles whose words do not say where something is."""


@dataclass(frozen=True)
class Match:
    """Words that were matched to one meaning.

    Attributes:
        role: What they do in the query.
        words: Normalised, abbreviations written out.
        start: Index of the first character in the text as typed.
        end: Index after the last one.
        term: The term they name.
        pattern: How a negation or hedge is written: ``before``, ``bare``, ``predicate``, ``after``, ``hedged``,
            ``exclusion`` or ``normal``; of a function word: ``filler``, ``context``, ``relation``, ``contrary`` or
            nothing.
        attribute: What they mean beside another finding.
        size_mm: Size of a measurement.
        cited: Images of a citation.
        mended: What was typed, where a typing error was mended.
        count: The number that they count.
        silent: Whether the words stay out of the phrase although their role does not say so.
    """

    role: Role
    words: tuple[str, ...]
    start: int
    end: int
    term: Term | None = None
    pattern: str = ""
    attribute: Term | None = None
    size_mm: float | None = None
    cited: Citation | None = None
    mended: str = ""
    count: int | None = None
    silent: bool = False

    @property
    def word(self) -> str:
        """Its words as one text."""
        return " ".join(self.words)

    @property
    def in_phrase(self) -> bool:
        """Whether its words are among those that a text tower gets."""
        unspoken = self.term is not None and not self.term.spoken
        return not (self.role in MUTE or self.silent or unspoken or (self.role == "function" and self.pattern != ""))


@dataclass(frozen=True)
class Entry:
    """One meaning of a sequence of words.

    Attributes:
        role: What it does in a query.
        term: The term it names, if it names one.
        pattern: As of a ``Match``.
        count: The number that it counts.
    """

    role: Role
    term: Term | None
    pattern: str = ""
    count: int | None = None

    @property
    def in_phrase(self) -> bool:
        """Whether the words are among those that a text tower gets."""
        return Match(self.role, (), 0, 0, self.term, self.pattern).in_phrase


class Matcher:
    """Finds the known words of texts.

    Args:
        entries: Meanings of sequences of words.
        expansions: Sequences of words that stand for others: abbreviations, spellings.
        numbered: Words after which a number is only a name.
        mend: Gives the known word that an unknown one was meant to be, or None.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, ...], tuple[Entry, ...]],
        expansions: Mapping[tuple[str, ...], tuple[str, ...]],
        numbered: Sequence[tuple[str, ...]],
        mend: Callable[[str], str | None],
    ) -> None:
        self._entries, self._expansions, self._mend = entries, expansions, mend
        self._numbered = frozenset(numbered)
        self._lengths: dict[str, tuple[int, ...]] = _lengths(entries)
        self._expansion_lengths: dict[str, tuple[int, ...]] = _lengths(expansions)
        self._words = {word for words in (*entries, *expansions, *numbered) for word in words}

    def match(self, text: str) -> list[Match]:
        """The matches of a text, in order."""
        tokens = _joined_levels(self._expand([self._mended(token) for token in tokenize(text)]))
        tokens = self._completed(tokens)
        return _with_counts(_without_distances(_with_non(self._match(tokens))))

    def _mended(self, token: Token) -> Token:
        word = token.word
        if len(word) < 4 or word in self._words or not word.isalpha():
            return token
        meant = self._mend(word)
        return replace(token, word=meant, mended=word) if meant else token

    def _expand(self, tokens: list[Token]) -> list[Token]:
        """Writes abbreviations out; the words of one abbreviation all keep its place in the text."""
        expanded, at = [], 0
        while at < len(tokens):
            length = _longest_at(tokens, at, self._expansions, self._expansion_lengths)
            known = _longest_at(tokens, at, self._entries, self._lengths)
            if length and length >= known:
                part = tokens[at : at + length]
                start, end = part[0].start, part[-1].end
                typed = next((token.mended for token in part if token.mended), "")
                full = self._expansions[tuple(token.word for token in part)]
                expanded += [Token(word, start, end, mended=typed) for word in full]
            else:
                length = max(known, 1)
                expanded += tokens[at : at + length]
            at += length
        return expanded

    def _completed(self, tokens: list[Token]) -> list[Token]:
        """Completes "pleural or pericardial effusion" and "pleural effusion or thickening"."""
        completed: list[Token] = []
        for at, token in enumerate(tokens):
            completed.append(token)
            if at + 3 < len(tokens) and tokens[at + 1].word in _JOINTS - {"to"}:
                other, noun = tokens[at + 2], tokens[at + 3]
                if self._is_finding(other.word, noun.word) and self._is_finding(token.word, noun.word):
                    completed.append(Token(noun.word, token.start, token.end))
            if at >= 2 and at + 1 < len(tokens) and token.word in _JOINTS - {"to"}:
                first, noun, other = tokens[at - 2], tokens[at - 1], tokens[at + 1]
                if self._is_finding(first.word, noun.word) and self._is_finding(first.word, other.word):
                    completed.append(Token(first.word, other.start, other.end))
        return completed

    def _is_finding(self, *words: str) -> bool:
        return any(entry.role == "finding" for entry in self._entries.get(words, ()))

    def _match(self, tokens: list[Token]) -> list[Match]:
        matches: list[Match] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            own = _of_its_own_kind(token)
            if own is not None:
                matches.append(own)
                at += 1
                continue
            length = self._numbered_at(tokens, at)
            if length:
                part = tokens[at : at + length]
                words = tuple(one.word for one in part)
                matches.append(Match("function", words, part[0].start, part[-1].end, pattern="filler"))
                at += length
                continue
            length = _longest_at(tokens, at, self._entries, self._lengths)
            part = tokens[at : at + max(length, 1)]
            words = tuple(one.word for one in part)
            start, end = min(one.start for one in part), max(one.end for one in part)
            if not length:
                matches.append(Match("unknown", words, start, end))
            else:
                first, *others = self._entries[words]
                looks = next((entry.term for entry in others if entry.role == "attribute"), None)
                typed = next((one.mended for one in part if one.mended), "")
                matches.append(
                    Match(
                        first.role,
                        words,
                        start,
                        end,
                        term=first.term,
                        pattern=first.pattern,
                        attribute=looks,
                        mended=typed,
                        count=first.count,
                    )
                )
            at += len(part)
        return matches

    def _numbered_at(self, tokens: list[Token], at: int) -> int:
        """Tokens of a name with its number, as in "grade 2"; 0 where there is none."""
        for length in (1, 2, 3):
            after = at + length
            if after >= len(tokens):
                return 0
            words = tuple(token.word for token in tokens[at:after])
            if words in self._numbered and tokens[after].word.isdigit() and tokens[after].size_mm is None:
                return length + 1
        return 0


def _with_counts(matches: list[Match]) -> list[Match]:
    """Reads the digits before a plural as a count: "2 small nodules". A number before anything else stays unknown."""
    counted = list(matches)
    for at, match in enumerate(matches):
        if match.role != "unknown" or len(match.words) != 1 or not re.fullmatch("[1-9][0-9]?", match.word):
            continue
        rest = (one for one in matches[at + 1 :] if one.role not in ("attribute", "side"))
        noun = next(rest, None)
        if noun is not None and noun.role in ("finding", "structure") and noun.words[-1].endswith(("s", "ae")):
            counted[at] = replace(match, role="function", pattern="filler", count=int(match.word))
    return counted


def _lengths(known: Mapping[tuple[str, ...], object]) -> dict[str, tuple[int, ...]]:
    """For each first word, the lengths of what begins with it, the longest first."""
    found: dict[str, set[int]] = {}
    for words in known:
        if words:
            found.setdefault(words[0], set()).add(len(words))
    return {word: tuple(sorted(lengths, reverse=True)) for word, lengths in found.items()}


def _longest_at(
    tokens: list[Token], at: int, known: Mapping[tuple[str, ...], object], lengths: Mapping[str, tuple[int, ...]]
) -> int:
    """How many tokens from ``at`` make the longest known sequence; 0 if none does."""
    token = tokens[at]
    if token.size_mm is not None or token.cited is not None or token.date:
        return 0
    for length in lengths.get(token.word, ()):
        part = tokens[at : at + length]
        if len(part) == length and tuple([one.word for one in part]) in known:
            return length
    return 0


def _of_its_own_kind(token: Token) -> Match | None:
    """A size, a citation, a date or an ordinal number, which no lexicon lists."""
    words = (token.word,)
    if token.size_mm is not None:
        return Match("measurement", words, token.start, token.end, size_mm=token.size_mm)
    if token.cited is not None:
        return Match("citation", words, token.start, token.end, cited=token.cited)
    if token.date:
        return Match("comparison", words, token.start, token.end, pattern="date")
    if token.word[:1].isdigit() and token.word[-2:] in ("st", "nd", "rd", "th"):
        return Match("unchecked", words, token.start, token.end, pattern="ordinal")
    return None


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
    """Keeps "5 mm from the pleura" from being a size and a place: all of it is told to be not checked."""
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
            if any(one.role in ("structure", "location") for one in part):
                words = tuple(word for one in part for word in one.words)
                kept.append(Match("unchecked", words, match.start, max(one.end for one in part), pattern="distance"))
                at = ahead
                continue
        kept.append(match)
        at += 1
    return kept
