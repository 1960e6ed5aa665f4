"""Plain questions: a finding or a structure, a side, a part of the lung. Anything else is refused, never left out.

tips_med understands far more (negation, size, hedges, several questions at once). A word that is not understood here
might turn a question into its opposite, so one such word refuses all of it.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from tips_med_runtime.errors import QueryError
from tips_med_runtime.query import Query, Side, Term

MAX_CHARACTERS = 300
_TOKEN = re.compile(r"[^\W_]+|(?<![^\W_])-|-(?![^\W_])|[^\w\s.,;:()-]")
"""A word, or a mark that may change a meaning: a dash that joins no words is a minus, as in "effusion (-)"."""
Role = Literal["finding", "structure", "location", "side", "filler"]


class Language:
    """The words that a model's questions may use.

    Args:
        raw: ``language`` of ``model.json``.
    """

    def __init__(self, raw: dict[str, Any]) -> None:
        self._forms: dict[tuple[str, ...], list[tuple[Role, Term | str]]] = {}
        self._abbreviations = {short: tuple(full.split()) for short, full in raw["abbreviations"].items()}
        self.findings = {one["id"]: _term(one) for one in raw["findings"]}
        self.structures = {one["id"]: _term(one) for one in raw["structures"]}
        places = {one["id"]: _term(one) for one in raw["places"]} | self.structures
        locations = {one["id"]: _term(one) for one in raw["locations"]}
        kinds: tuple[tuple[Role, dict[str, Term], list[dict[str, Any]]], ...] = (
            ("finding", self.findings, raw["findings"]),
            ("structure", places, [*raw["structures"], *raw["places"]]),
            ("location", locations, raw["locations"]),
        )
        for role, terms, listed in kinds:
            for one in listed:
                for form in one["forms"]:
                    self._add(form, role, terms[one["id"]])
        for side, forms in raw["sides"].items():
            for form in forms:
                self._add(form, "side", side)
        for word in raw["filler"]:
            self._add(word, "filler", word)
        self._longest = max(len(words) for words in self._forms)

    def _add(self, form: str, role: Role, meaning: Term | str) -> None:
        meanings = self._forms.setdefault(tuple(form.split()), [])
        if (role, meaning) not in meanings:
            meanings.append((role, meaning))

    def parse(self, text: str) -> Query:
        """Understands a question.

        Args:
            text: Such as ``mass in the left lung``.

        Raises:
            QueryError: ``unknown-words``, ``nothing-to-find``, ``several-findings``, ``several-structures`` or
                ``contradiction``.
        """
        if len(text) > MAX_CHARACTERS:
            raise QueryError(f"{len(text)} characters", expected=f"at most {MAX_CHARACTERS}", code="too-long")
        found: dict[Role, list[Any]] = {"finding": [], "structure": [], "location": [], "side": [], "filler": []}
        words = [part for word in _TOKEN.findall(text.lower()) for part in self._abbreviations.get(word, (word,))]
        unknown, at = [], 0
        while at < len(words):
            length = next((n for n in range(self._longest, 0, -1) if tuple(words[at : at + n]) in self._forms), 0)
            if length == 0:
                unknown.append(words[at])
            else:
                role, meaning = self._forms[tuple(words[at : at + length])][0]
                if meaning not in found[role]:
                    found[role].append(meaning)
            at += max(1, length)
        if unknown:
            names = ", ".join(term.name for term in self.terms)
            raise QueryError(
                f"not understood here: {', '.join(map(repr, unknown))}, in {text!r}",
                expected="a finding or a structure, a side, a third or a lobe, in plain words",
                remedy=f"ask for one of: {names}; ask tips_med for negation, size and all else that it understands",
                code="unknown-words",
            )
        return self._resolved(text, found)

    @property
    def terms(self) -> tuple[Term, ...]:
        """What the model finds: findings first, then structures."""
        return (*self.findings.values(), *self.structures.values())

    def _resolved(self, text: str, found: dict[Role, list[Any]]) -> Query:
        finding: Term | None = _one(text, found["finding"], "finding")
        structure: Term | None = _one(text, found["structure"], "structure")
        locations = tuple(cast("list[Term]", found["location"]))
        if finding is None and structure is None and locations:
            structure = self.structures.get("lung")
        if finding is None and (structure is None or structure.id not in self.structures):
            raise QueryError(
                f"{text!r} names nothing that this model finds",
                expected=f"one of: {', '.join(term.name for term in self.terms)}",
                code="nothing-to-find",
            )
        sides = {*found["side"], *(location.side for location in locations if location.side)}
        if len(sides) > 1:
            raise QueryError(
                f"{text!r} names more than one side",
                expected='one side, or "both"',
                remedy="ask one question for each side",
                code="contradiction",
            )
        side: Side | None = next(iter(sides), None)
        return Query(text, finding, structure, side, locations)


def _one(text: str, terms: list[Term], kind: str) -> Term | None:
    if len(terms) > 1:
        raise QueryError(
            f"{text!r} names {len(terms)} {kind}s: {' and '.join(term.name for term in terms)}",
            expected=f"one {kind}",
            remedy="ask one question for each",
            code=f"several-{kind}s",
        )
    return terms[0] if terms else None


def _term(raw: dict[str, Any]) -> Term:
    return Term(
        raw["id"],
        raw["name"],
        raw["phrase"],
        tuple(raw.get("kinds", ())),
        raw.get("within"),
        raw.get("paired", False),
        raw.get("whole", False),
        raw.get("side"),
        raw.get("by_estimate", False),
    )
