"""What a text was understood to mean: ``Query`` and its spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tips_med.lexicon.terms import Side, Term

Role = Literal[
    "finding",
    "structure",
    "side",
    "location",
    "attribute",
    "negation",
    "hedge",
    "measurement",
    "function",
    "unknown",
]


@dataclass(frozen=True)
class Span:
    """A stretch of the text with one meaning.

    Attributes:
        text: Text as typed: ``text[start:end]`` of the query.
        role: Role of the span in the query.
        term_id: Id of the named term; None for roles without terms.
        start: Index of its first character in the query's text.
        end: Index after its last character.
    """

    text: str
    role: Role
    term_id: str | None
    start: int
    end: int


@dataclass(frozen=True)
class PhraseWord:
    """A word of the phrase, and where it came from.

    Attributes:
        text: One word of the lexicon's vocabulary.
        span: Index into ``Query.spans``.
    """

    text: str
    span: int


@dataclass(frozen=True)
class Query:
    """A query to a scan, as parsed.

    Attributes:
        text: Text as typed.
        finding: Queried finding; None when only a structure is queried.
        structure: Organ or part of the body to search, stated or implied ("lower lobe" implies lung).
        side: Side of the patient; None when no side is named.
        locations: Named parts of the structure.
        attributes: Named attributes of the finding.
        negated: Whether the text negates the finding.
        hedged: Whether the text hedges the finding.
        measurement_mm: Size in the text in mm, the longest where there are two ("32 x 21 mm"); None without one.
        spans: All words of the text, in order.
        words: Words for the text tower, with the span that each word came from. Abbreviations are written out,
            and usual words replace held-out synonyms; negation, hedges, sizes and unknown words
            are left out, for they do not say where something is.
        suggestions: Nearest known words for each unknown word: ``(("noduel", ("nodule", "nodules")),)``.
    """

    text: str
    finding: Term | None = None
    structure: Term | None = None
    side: Side | None = None
    locations: tuple[Term, ...] = ()
    attributes: tuple[Term, ...] = ()
    negated: bool = False
    hedged: bool = False
    measurement_mm: float | None = None
    spans: tuple[Span, ...] = ()
    words: tuple[PhraseWord, ...] = ()
    suggestions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def understood(self) -> tuple[str, ...]:
        """The parts of the text that mean something, as typed, in order."""
        return tuple(span.text for span in self.spans if span.role not in ("function", "unknown"))

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The parts of the text that were not understood, as typed, in order."""
        return tuple(span.text for span in self.spans if span.role == "unknown")

    @property
    def phrase(self) -> str:
        """The words for the text tower, lowercase, one space between them."""
        return " ".join(word.text for word in self.words)
