"""From the matches of one question to what is asked: one finding, structure and side; contradictions are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tips_med.errors import QueryError
from tips_med.lexicon.heads import around
from tips_med.lexicon.matching import Match
from tips_med.lexicon.terms import Side, Term
from tips_med.lexicon.understanding import Query, Role

_JOINTS = {"and", "or", "/"}
_SIDES: dict[str, Side] = {"left": "left", "right": "right", "both": "both"}


def resolve(query: Query, matches: Sequence[Match], finding: Term | None, terms: Mapping[str, Term]) -> Query:
    """Puts matches together to what is asked.

    Args:
        query: With its text, spans, words, suggestions and state.
        matches: In the order of the text.
        finding: What is looked for; None when only a structure is.
        terms: All terms by id.

    Returns:
        The query with all its fields.

    Raises:
        QueryError: If it is about several structures or sizes, or contradicts itself.
    """
    text = query.text
    locations = _terms(matches, "location")
    structure = _structure(text, _terms(matches, "structure"), locations, finding, terms)
    if finding is None and structure is None:
        raise nothing_to_find(text)
    counts = [match.count for match in matches if match.count is not None]
    return replace(
        query,
        finding=finding,
        structure=structure,
        side=_side(text, matches, locations),
        locations=locations,
        attributes=_terms(matches, "attribute"),
        measurement_mm=_size(text, matches),
        count=counts[0] if counts else None,
        cited=tuple(match.cited for match in matches if match.cited is not None),
    )


def nothing_to_find(text: str) -> QueryError:
    """The refusal of a text that names no finding and no structure."""
    return QueryError(
        f"{text!r} names no finding and no structure",
        expected="what to look for",
        remedy='name it, as in "small nodule left lung"',
        code="nothing-to-find",
    )


def refuse_nothing(query: Query, matches: Sequence[Match]) -> None:
    """Refuses a text of which no word names anything.

    Raises:
        QueryError: With the nearest known words.
    """
    if any(match.term is not None for match in matches):
        return
    near = ", ".join(f"{found} for {word!r}" for word, founds in query.suggestions for found in founds[:2])
    example = 'try "ground-glass opacity left lung" or "nodule in the right upper lobe"'
    raise QueryError(
        f"no word of {query.text!r} names a finding or structure",
        expected="a finding or a structure of the lexicon",
        remedy=f"did you mean {near}? Otherwise {example}" if near else example,
        code="unknown-words",
    )


def refuse_several(text: str, queries: Sequence[Query]) -> QueryError:
    """The refusal of a text that is several questions, where one was expected."""
    findings = tuple(dict.fromkeys(query.finding for query in queries))
    structures = tuple(dict.fromkeys(query.structure for query in queries if query.structure is not None))
    remedy = "ask one query for each"
    if len(findings) > 1:
        names = [
            query.finding.name if query.finding else query.structure.name if query.structure else ""
            for query in queries
        ]
        names = list(dict.fromkeys(names))
        return QueryError(
            f"{text!r} names {len(names)} findings: {' and '.join(names)}",
            expected="one finding",
            remedy=remedy,
            code="several-findings",
        )
    if len(structures) > 1:
        return QueryError(
            f"{text!r} names {len(structures)} structures: {' and '.join(one.name for one in structures)}",
            expected="one structure",
            remedy=remedy,
            code="several-structures",
        )
    sizes = {query.measurement_mm for query in queries if query.measurement_mm is not None}
    if len(sizes) > 1:
        return QueryError(
            f"{text!r} names {len(sizes)} sizes",
            expected="one size",
            remedy="ask one query for each finding",
            code="several-sizes",
        )
    return _both_sides(text)


def _both_sides(text: str) -> QueryError:
    return QueryError(
        f"{text!r} asks for the left and the right side at once",
        expected="one side, or both",
        remedy='ask one query for each side, or say "both" or "bilateral"',
        code="contradiction",
    )


def _terms(matches: Sequence[Match], role: Role) -> tuple[Term, ...]:
    """The terms named in a role, each once."""
    return tuple(dict.fromkeys(match.term for match in matches if match.role == role and match.term is not None))


def _structure(
    text: str,
    named: tuple[Term, ...],
    locations: tuple[Term, ...],
    finding: Term | None,
    terms: Mapping[str, Term],
) -> Term | None:
    """The most specific of the structures named, or else the one that a location is part of.

    A location implies no structure where the finding has one of its own: a pneumothorax at the apex is not in the lung.
    """
    specific = [one for one in named if not any(one.id in around(other, terms) for other in named)]
    if len(specific) > 1:
        raise QueryError(
            f"{text!r} names {len(specific)} structures: {' and '.join(one.name for one in specific)}",
            expected="one structure",
            remedy="make one query for each",
            code="several-structures",
        )
    structure = specific[0] if specific else None
    for location in locations:
        if not location.structures:
            continue
        implied = terms[location.structures[0]]
        if structure is None and finding is not None and finding.within is not None:
            continue
        if structure is None or structure.id in around(implied, terms):
            structure = implied
        elif structure.id not in location.structures and _has_parts(structure, terms):
            raise QueryError(
                f"{text!r} names the {location.name} of the {structure.name}",
                expected=f"a part of the {structure.name}",
                remedy="name another part, or none",
                code="contradiction",
            )
    return structure


def _has_parts(structure: Term, terms: Mapping[str, Term]) -> bool:
    """Whether a structure has parts of its own, so that parts of others are none of it: a lobe may name an artery."""
    listed = any(structure.id in term.structures for term in terms.values())
    return listed or "abdomen" in around(structure, terms)


def _side(text: str, matches: Sequence[Match], locations: tuple[Term, ...]) -> Side | None:
    named: list[Side] = [_SIDES[match.term.id] for match in matches if match.role == "side" and match.term is not None]
    side: Side | None = named[0] if len(set(named)) == 1 else None
    if len(set(named)) > 1:
        places = [index for index, match in enumerate(matches) if match.role == "side"]
        between = matches[places[0] + 1 : places[-1]]
        joined = "both" in named or any(match.words[0] in _JOINTS for match in between)
        apart = any(match.role != "side" and match.words[0] not in _JOINTS for match in between)
        lobes = [location for location in locations if location.structures]
        if not joined or (apart and len(lobes) > 1):
            raise _both_sides(text)
        side = "both"
    for location in locations:
        if location.side is None:
            continue
        if side is not None and side != location.side:
            raise QueryError(
                f"{text!r} names the {location.name}, which only the {location.side} side has",
                expected=f"the {location.side} side",
                remedy="leave the side out, or name another part",
                code="contradiction",
            )
        side = _SIDES[location.side]
    return side


def _size(text: str, matches: Sequence[Match]) -> float | None:
    sizes = {match.size_mm for match in matches if match.size_mm is not None}
    if len(sizes) > 1:
        raise QueryError(
            f"{text!r} names {len(sizes)} sizes",
            expected="one size",
            remedy="make one query for each finding",
            code="several-sizes",
        )
    return next(iter(sizes), None)
