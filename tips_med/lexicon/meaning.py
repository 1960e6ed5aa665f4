"""From matched words to a query: one finding, one structure, one side; contradictions are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tips_med.errors import QueryError
from tips_med.lexicon.terms import Side, Term
from tips_med.lexicon.understanding import Query, Role

_SUBJECTS: tuple[Role, ...] = ("finding", "structure")
_QUALIFIERS: tuple[Role, ...] = ("side", "location", "attribute")
_MEANT: tuple[Role, ...] = (*_SUBJECTS, *_QUALIFIERS, "measurement", "unknown")
_JOINTS = {"and", "or", "/"}
_SIDES: dict[str, Side] = {"left": "left", "right": "right", "both": "both"}


@dataclass(frozen=True)
class Match:
    """Words that were matched to one meaning.

    Attributes:
        role: Role of the words in the query.
        words: Normalised words, abbreviations written out.
        start: Index of the first character in the text as typed.
        end: Index after the last character.
        term: Term that the words name, if any.
        pattern: Form of a negation or hedge: ``before``, ``bare``, ``predicate``, ``after``, ``hedged`` or
            ``exclusion``; of a function word: ``filler`` or nothing.
        attribute: Meaning of the words beside another finding, if any.
        size_mm: Size of a measurement in mm.
    """

    role: Role
    words: tuple[str, ...]
    start: int
    end: int
    term: Term | None = None
    pattern: str = ""
    attribute: Term | None = None
    size_mm: float | None = None


def resolve(query: Query, matches: Sequence[Match], terms: Mapping[str, Term]) -> Query:
    """Makes the query from its matches.

    Args:
        query: Query with its text, spans, words and suggestions.
        matches: Matches in the order of the text.
        terms: All terms by id.

    Returns:
        The query with all its fields.

    Raises:
        QueryError: If there is nothing to search, or more than one thing, or a contradiction.
    """
    text = query.text
    _refuse_nothing(query, matches)
    negated = _negated(text, matches)
    locations = _terms(matches, "location")
    finding = _finding(text, _terms(matches, "finding"))
    structure = _structure(text, _terms(matches, "structure"), locations, finding, terms)
    if finding is None and structure is None:
        raise QueryError(
            f"{text!r} names no finding and no structure",
            expected="a finding or structure to search",
            remedy='name it, as in "small nodule left lung"',
            code="nothing-to-find",
        )
    return replace(
        query,
        finding=finding,
        structure=structure,
        side=_side(text, matches, locations),
        locations=locations,
        attributes=_terms(matches, "attribute"),
        negated=negated,
        hedged=any(match.role == "hedge" or match.pattern == "hedged" for match in matches),
        measurement_mm=_size(text, matches),
    )


def _terms(matches: Sequence[Match], role: Role) -> tuple[Term, ...]:
    """The terms named in a role, each once."""
    return tuple(dict.fromkeys(match.term for match in matches if match.role == role and match.term is not None))


def _refuse_nothing(query: Query, matches: Sequence[Match]) -> None:
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


def _finding(text: str, findings: tuple[Term, ...]) -> Term | None:
    if len(findings) > 1:
        names = " and ".join(finding.name for finding in findings)
        raise QueryError(
            f"{text!r} names {len(findings)} findings: {names}",
            expected="one finding",
            remedy="make one query for each",
            code="several-findings",
        )
    return findings[0] if findings else None


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
    specific = [one for one in named if not any(one.id in _around(other, terms) for other in named)]
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
        if structure is None or structure.id in _around(implied, terms):
            structure = implied
        elif structure.id not in location.structures:
            raise QueryError(
                f"{text!r} names the {location.name} of the {structure.name}",
                expected=f"a part of the {structure.name}",
                remedy="name another part, or none",
                code="contradiction",
            )
    return structure


def _around(structure: Term, terms: Mapping[str, Term]) -> set[str]:
    """Ids of the structures that it is part of."""
    around: set[str] = set()
    while structure.within is not None and structure.within not in around:
        around.add(structure.within)
        structure = terms[structure.within]
    return around


def _side(text: str, matches: Sequence[Match], locations: tuple[Term, ...]) -> Side | None:
    named: list[Side] = [_SIDES[match.term.id] for match in matches if match.role == "side" and match.term is not None]
    side: Side | None = named[0] if len(set(named)) == 1 else None
    if len(set(named)) > 1:
        places = [index for index, match in enumerate(matches) if match.role == "side"]
        between = matches[places[0] + 1 : places[-1]]
        joined = "both" in named or any(match.words[0] in _JOINTS for match in between)
        apart = any(match.role != "side" and match.words[0] not in _JOINTS for match in between)
        if not joined or (apart and len(locations) > 1):
            raise QueryError(
                f"{text!r} names the left and the right side at once",
                expected="one side, or both",
                remedy='make one query for each side, or write "both" or "bilateral"',
                code="contradiction",
            )
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


def _negated(text: str, matches: Sequence[Match]) -> bool:
    negations = [index for index, match in enumerate(matches) if match.role == "negation"]
    if len(negations) > 1:
        raise QueryError(
            f"{text!r} negates twice",
            expected="at most one negation",
            remedy='negate once, as in "no pleural effusion"',
            code="double-negation",
        )
    if not negations:
        return False
    at = negations[0]
    pattern, after = matches[at].pattern, _next(matches, at, _MEANT)
    if pattern == "exclusion" or (
        pattern in ("before", "bare") and after and not _of_a_subject(text, matches, at, after)
    ):
        what = repr(text[after.start : after.end]) if after else "something else"
        raise QueryError(
            f"in {text!r} the negation applies to {what}, not to what is searched",
            expected="a negation of what is searched, or none",
            remedy="leave that part out, or name the side, the place or the kind that is meant instead",
            code="negated-qualifier",
        )
    return True


def _of_a_subject(text: str, matches: Sequence[Match], at: int, after: Match) -> bool:
    """Whether a negation that something follows is of what is searched: not so in "mass without spiculation"."""
    if after.role in _QUALIFIERS and matches[at].pattern == "bare":
        return False
    if any(match.role in _SUBJECTS for match in matches[:at]):
        return False
    subject = _next(matches, at, _SUBJECTS)
    if subject is None:
        return True
    between = matches[at : matches.index(subject, at) + 1]
    gaps = "".join(text[one.end : other.start] for one, other in pairwise(between))
    aside = "," in gaps and any(match.role == "unknown" for match in between)
    return not aside and not any(mark in gaps for mark in ".;:")


def _next(matches: Sequence[Match], at: int, roles: Sequence[Role]) -> Match | None:
    return next((match for match in matches[at + 1 :] if match.role in roles), None)


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
