"""What a report states: each finding with its place, size and state, and where in the text it says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from tips_med.errors import QueryError
from tips_med.lexicon import Lexicon, Query
from tips_med.reports.sections import SectionKind, split_sections
from tips_med.reports.sentences import Sentence, split_sentences


@dataclass(frozen=True)
class Statement:
    """One thing that a report states.

    Attributes:
        query: What, where, how large, and in which state; its ``cited`` are the images that the sentence cites.
        start: Index of the first character of its source in the report.
        end: Index after the last one.
        section: Where it stands.
    """

    query: Query
    start: int
    end: int
    section: SectionKind

    @cached_property
    def phrase(self) -> str:
        """The statement in words of the lexicon alone: no word of it is taken over from the report as it was typed.

        So no name, date or number of a patient can be in it.
        """
        return canonical_text(self.query)


@dataclass(frozen=True)
class Report:
    """A report that was read.

    Attributes:
        statements: In the order of the text.
        sentences: How many sentences of it are about the scan.
        used: How many of these give a statement.
        unknown: Words that are not in the lexicon, lowercase, with how often they stand there.
        refused: Codes of the errors of sentences that contradict themselves, with how often.
    """

    statements: tuple[Statement, ...]
    sentences: int
    used: int
    unknown: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def read_report(text: str, lexicon: Lexicon) -> Report:
    """Reads a report.

    Args:
        text: As it was written: headings, lists and lines may be there or not.
        lexicon: The language.

    Returns:
        What it states of the scan. The indication, the technique, the comparison and what is about people are left out.
    """
    statements: list[Statement] = []
    sentences = used = 0
    unknown: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for section in split_sections(text):
        if section.kind == "other":
            continue
        for sentence in split_sentences(text, section.start, section.end):
            if sentence.personal or _is_heading(text[sentence.start : sentence.end]):
                continue
            sentences += 1
            content = text[sentence.start : sentence.end].replace("\n", " ")
            try:
                queries = lexicon.parse_each(content, limit=None)
            except QueryError as error:
                if error.code not in ("unknown-words", "nothing-to-find"):
                    refused[error.code] += 1
                unknown.update(lexicon.unknown_words(content) if error.code != "other-language" else ())
                continue
            found = list(_stated(queries, sentence, section.kind, lexicon))
            used += bool(found)
            statements += found
            if any(query.unknown_words for query in queries):
                unknown.update(lexicon.unknown_words(content))
    return Report(tuple(statements), sentences, used, unknown, refused)


def _is_heading(text: str) -> bool:
    """Whether a line only names what follows it: "Nodules:"."""
    return text.rstrip().endswith(":") and len(text.split()) <= 3


def _stated(queries: Iterable[Query], sentence: Sentence, kind: SectionKind, lexicon: Lexicon) -> Iterable[Statement]:
    for query in queries:
        subject = query.finding or query.structure
        if subject is None or (query.finding is None and subject.id not in lexicon.content.objects):
            continue
        first, last = query.source or (0, len(query.text))
        if sentence.asks and not query.negated:
            query = replace(query, hedged=True)
        yield Statement(query, sentence.start + first, sentence.start + last, kind)


def canonical_text(query: Query) -> str:
    """A query in words of the lexicon alone: ``no 8 mm nodule left upper lobe``."""
    parts = ["no"] if query.negated else ["history of"] if query.prior else ["possible"] if query.hedged else []
    if query.measurement_mm is not None:
        parts.append(f"{query.measurement_mm:g} mm")
    subject = query.finding or query.structure
    assert subject is not None  # every query has one
    parts += [attribute.forms[0].text for attribute in query.attributes]
    parts.append(subject.forms[0].text)
    near = [place for place in query.locations if place.kind == "structure"]
    inside = [place for place in query.locations if place.kind != "structure"]
    nouns = [place for place in inside if any(form.number != "adjective" for form in place.forms)]
    where = [query.side if query.side in ("left", "right") else "bilateral"] if query.side else []
    where += [place.forms[0].text for place in inside if place not in nouns]
    where += [" and ".join(_noun(place.forms) for place in nouns)] if nouns else []
    if query.finding is not None and query.structure is not None and not _implied(query):
        where.append(_noun(query.structure.forms))
    parts += where
    for place in near:
        parts.append(f"near {_noun(place.forms)}")
    return " ".join(parts)


def _noun(forms: Iterable) -> str:  # type: ignore[type-arg]
    known = list(forms)
    return next((form.text for form in known if form.number != "adjective"), known[0].text)


def _implied(query: Query) -> bool:
    return query.structure is not None and any(
        query.structure.id in place.structures[:1] for place in query.locations if place.kind == "location"
    )
