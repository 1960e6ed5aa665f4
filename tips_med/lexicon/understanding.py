"""What a text was understood to mean: ``Query`` and its spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tips_med.lexicon.terms import Side, Term
from tips_med.lexicon.tokens import Citation

State = Literal["present", "absent", "possible", "prior"]

Role = Literal[
    "finding",
    "structure",
    "side",
    "location",
    "attribute",
    "negation",
    "hedge",
    "history",
    "comparison",
    "measurement",
    "citation",
    "unchecked",
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
        suggestions: For unknown words, the nearest known ones: ``(("glassy", ("glass",)),)``.
        prior: Whether the text only says that it was there once: "history of pneumonia".
        mended: Typing errors, with what they were read as: ``(("noduel", "nodule"),)``.
        count: How many there are said to be: "two nodules".
        cited: The images that the text cites: "series 3, image 142".
        source: Where the question stands in the text that was asked, from its first character to after its last.
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
    prior: bool = False
    mended: tuple[tuple[str, str], ...] = ()
    count: int | None = None
    cited: tuple[Citation, ...] = ()
    source: tuple[int, int] | None = None

    @property
    def state(self) -> State:
        """What the text says of it: present, absent, possible, or that it was there once."""
        return "absent" if self.negated else "prior" if self.prior else "possible" if self.hedged else "present"

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The parts of the text that are understood and that no map can honour, as typed: "new", "not calcified"."""
        runs: list[tuple[int, int]] = []
        after_one = False
        for span in self.spans:
            if span.role in ("comparison", "history", "unchecked", "citation"):
                runs = [*runs[:-1], (runs[-1][0], span.end)] if after_one else [*runs, (span.start, span.end)]
                after_one = True
            elif span.role != "function":
                after_one = False
        return tuple(self.text[start:end] for start, end in runs)

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
