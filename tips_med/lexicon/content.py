"""The content of a lexicon's YAML, checked as it is read; errors name their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from tips_med.configs import config_names, config_path
from tips_med.errors import ConfigError
from tips_med.lexicon.terms import Code, Form, Kind, Side, Term, WindowName
from tips_med.lexicon.tokens import words_of

_TERM_KEYS = {
    "name",
    "code",
    "forms",
    "adjectives",
    "held_out",
    "paired",
    "whole",
    "within",
    "structures",
    "side",
    "kinds",
    "window",
    "spoken",
}
_NEGATION = ("before", "bare", "predicate", "after", "hedged", "exclusion")
_HEDGE = ("before", "predicate", "after")
_LISTS = (
    "function",
    "filler",
    "comparison",
    "formerly",
    "history",
    "relation",
    "normal",
    "contrary",
    "numbered",
    "context",
)
"""Sections that are plain lists of phrases."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader in C where PyYAML was built with it: ten times as fast."""


@dataclass(frozen=True)
class Content:
    """The content of a lexicon.

    Attributes:
        name: Name of the lexicon.
        terms: Terms by id, in the order of the file.
        negation: Negating phrases by pattern: ``before``, ``bare``, ``predicate``, ``after``, ``hedged`` and
            ``exclusion``.
        hedge: Hedging phrases by pattern: ``before``, ``predicate`` and ``after``.
        not_understood: Phrases that are reported as not understood although their words are known.
        abbreviations: Long form of each abbreviation.
        spelling: Usual spelling of each other spelling.
        readings: Words of the terms for other words; understood, but never written.
        function: Words without a meaning of their own that stay in a phrase.
        filler: Words without a meaning of their own that are left out of it.
        comparison: Phrases about change since another scan, which one scan cannot show.
        formerly: Words after which a length is that of another scan.
        history: Phrases after which a finding is not said to be in this scan.
        relation: Phrases after which a structure only places a finding.
        normal: Phrases that say that nothing is wrong with a structure.
        combined: Triples of ids, (attribute, structure, finding): an enlarged heart is cardiomegaly.
        objects: Ids of structures that are looked for themselves, even where another structure places them.
        looks: Findings that are only a look beside another one, with the attribute that they are then.
        normal_means: For a structure that is called normal, the findings that it is then said not to have.
        contrary: Words after which what was denied before is not denied any more.
        lasting: Ids of findings that a history leaves behind: a lobectomy.
        numbers: Words that count, with the count in digits.
        numbered: Words after which a number is only a name.
        context: Words about the patient, the scan and the report, not about what the scan shows.
    """

    name: str
    terms: Mapping[str, Term]
    negation: Mapping[str, tuple[str, ...]]
    hedge: Mapping[str, tuple[str, ...]]
    not_understood: tuple[str, ...]
    abbreviations: Mapping[str, str]
    spelling: Mapping[str, str]
    readings: Mapping[str, str]
    function: tuple[str, ...]
    filler: tuple[str, ...]
    comparison: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    relation: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    combined: tuple[tuple[str, str, str], ...] = ()
    objects: tuple[str, ...] = ()
    looks: Mapping[str, str] = field(default_factory=dict)
    normal_means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    contrary: tuple[str, ...] = ()
    lasting: tuple[str, ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    numbered: tuple[str, ...] = ()
    context: tuple[str, ...] = ()


def read_content(path: Path) -> Content:
    """Reads a lexicon's file.

    Args:
        path: YAML; see ``radiology_configs/lexicons/chest_ct.yaml``. With ``extends: chest_ct`` it only needs what it
            adds to that one.

    Raises:
        ConfigError: If it cannot be read, or its content is wrong; the place is named.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506, both are safe loaders
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("cannot be read", path=path, expected="a lexicon in YAML", code="lexicon") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}", path=path, expected="a lexicon in YAML", code="lexicon") from error
    if isinstance(content, dict) and "extends" in content:
        base = content.pop("extends")
        if not isinstance(base, str) or base not in config_names("lexicons"):
            raise ConfigError(
                f"extends is {str(base)[:60]!r}",
                path=path,
                expected=f"a lexicon of this package: {', '.join(config_names('lexicons'))}",
                code="lexicon",
            )
        shipped = config_path("lexicons", base)
        content = _merged(yaml.load(shipped.read_text(encoding="utf-8"), Loader=_LOADER), content)  # noqa: S506
        content["name"] = path.stem
    return _Reader(path).content(content)


def _merged(base: Any, more: Any) -> Any:
    """What a lexicon has and what another one adds to it: lists grow, entries of one name are replaced."""
    if isinstance(base, dict) and isinstance(more, dict):
        return base | {key: _merged(base[key], value) if key in base else value for key, value in more.items()}
    if isinstance(base, list) and isinstance(more, list):
        return base + more
    return base if more is None else more


class _Reader:
    """Checks one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, place: str, found: Any, expected: str) -> ConfigError:
        return ConfigError(f"{place} is {str(found)[:60]!r}", path=self.path, expected=expected, code="lexicon")

    def content(self, content: Any) -> Content:
        sections = self.mapping("the file", content, set(Content.__dataclass_fields__))
        terms = self.terms(sections.get("terms"))
        return Content(
            name=self.text("name", sections.get("name", self.path.stem)),
            terms=terms,
            negation=self.phrases("negation", sections.get("negation"), _NEGATION),
            hedge=self.phrases("hedge", sections.get("hedge"), _HEDGE),
            not_understood=self.texts("not_understood", sections.get("not_understood")),
            abbreviations=self.table("abbreviations", sections.get("abbreviations")),
            spelling=self.table("spelling", sections.get("spelling")),
            readings=self.table("readings", sections.get("readings")),
            combined=self.combined(sections.get("combined"), terms),
            normal_means=self.normal_means(sections.get("normal_means"), terms),
            objects=self.known("objects", sections.get("objects"), terms, "structure"),
            looks=self.looks(sections.get("looks"), terms),
            lasting=self.known("lasting", sections.get("lasting"), terms, "finding"),
            numbers=self.table("numbers", sections.get("numbers")),
            **{name: self.texts(name, sections.get(name)) for name in _LISTS},
        )

    def combined(self, value: Any, terms: Mapping[str, Term]) -> tuple[tuple[str, str, str], ...]:
        """Looks and structures that together are a finding."""
        kinds = ("attribute", "structure", "finding")
        found = []
        for entry in value or ():
            fields = self.mapping("an entry of combined", entry, set(kinds))
            found.append(tuple(self.known(kind, [fields.get(kind)], terms, kind)[0] for kind in kinds))
        return tuple(found)

    def normal_means(self, value: Any, terms: Mapping[str, Term]) -> dict[str, tuple[str, ...]]:
        """Structures with the findings that they do not have where they are called normal."""
        table = {} if value is None else self.mapping("normal_means", value)
        self.known("normal_means", list(table), terms, "structure")
        return {key: self.known(f"normal_means.{key}", ids, terms, "finding") for key, ids in table.items()}

    def looks(self, value: Any, terms: Mapping[str, Term]) -> dict[str, str]:
        """Findings with the attribute that they are beside another one."""
        table = self.table("looks", value)
        self.known("looks", list(table), terms, "finding")
        self.known("looks", list(table.values()), terms, "attribute")
        return table

    def known(self, place: str, value: Any, terms: Mapping[str, Term], kind: str) -> tuple[str, ...]:
        """Ids of terms of a kind."""
        ids = self.texts(place, value)
        for term_id in ids:
            if term_id not in terms or terms[term_id].kind != kind:
                raise self.wrong(f"an entry of {place}", term_id, f"the id of a {kind}")
        return ids

    def terms(self, kinds: Any) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        for kind, entries in self.mapping("terms", kinds, set(get_args(Kind))).items():
            for term_id, entry in self.mapping(f"terms.{kind}", entries).items():
                if term_id in terms:
                    raise self.wrong(f"terms.{kind}", term_id, "every id once")
                terms[term_id] = self.term(cast(Kind, kind), term_id, entry)
        for term in terms.values():
            for other in (*term.structures, *((term.within,) if term.within else ())):
                if other not in terms or terms[other].kind != "structure":
                    raise self.wrong(f"a structure of {term.id}", other, "the id of a structure")
            for kind in term.kinds:
                if term.kind != "finding" or kind not in terms or terms[kind].kind != "finding" or terms[kind].kinds:
                    raise self.wrong(f"a kind of {term.id}", kind, "the id of a finding that has no kinds of its own")
        for term in terms.values():
            outer, around = term.within, {term.id}
            while outer is not None:
                if outer in around:
                    raise self.wrong(f"terms.{term.kind}.{term.id}.within", term.within, "no circle of structures")
                around.add(outer)
                outer = terms[outer].within
        return terms

    def term(self, kind: Kind, term_id: str, entry: Any) -> Term:
        place = f"terms.{kind}.{term_id}"
        if kind == "side" and term_id not in get_args(Side):
            raise self.wrong("a side", term_id, f"one of {', '.join(get_args(Side))}")
        entry = self.mapping(place, entry, _TERM_KEYS)
        forms = [form for text in self.texts(f"{place}.forms", entry.get("forms")) for form in _forms(text)]
        forms += [
            Form(text, words_of(text), "adjective")
            for text in self.texts(f"{place}.adjectives", entry.get("adjectives"))
        ]
        forms += [
            form
            for text in self.texts(f"{place}.held_out", entry.get("held_out"))
            for form in _forms(text, held_out=True)
        ]
        if not forms or not all(form.words for form in forms):
            raise self.wrong(place, "without words", "forms or adjectives")
        if entry.get("side") not in (None, "left", "right"):
            raise self.wrong(f"{place}.side", entry["side"], "left or right")
        if entry.get("window") not in (None, *get_args(WindowName)):
            raise self.wrong(f"{place}.window", entry["window"], f"one of {', '.join(get_args(WindowName))}")
        for flag in ("paired", "whole", "spoken"):
            if not isinstance(entry.get(flag, False), bool):
                raise self.wrong(f"{place}.{flag}", entry[flag], "true or false")
        return Term(
            id=term_id,
            kind=kind,
            name=self.text(f"{place}.name", entry.get("name", forms[0].text)),
            forms=tuple(forms),
            code=None if entry.get("code") is None else self.code(f"{place}.code", entry["code"]),
            paired=entry.get("paired", False),
            whole=entry.get("whole", False),
            within=None if entry.get("within") is None else self.text(f"{place}.within", entry["within"]),
            structures=self.texts(f"{place}.structures", entry.get("structures")),
            side=entry.get("side"),
            kinds=self.texts(f"{place}.kinds", entry.get("kinds")),
            window=entry.get("window"),
            spoken=entry.get("spoken", True),
        )

    def code(self, place: str, entry: Any) -> Code:
        fields = self.mapping(place, entry, set(Code.__dataclass_fields__))
        return Code(**{name: self.text(f"{place}.{name}", fields.get(name)) for name in Code.__dataclass_fields__})

    def phrases(self, place: str, entry: Any, patterns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        given = {} if entry is None else self.mapping(place, entry, set(patterns))
        return {pattern: self.texts(f"{place}.{pattern}", given.get(pattern)) for pattern in patterns}

    def mapping(self, place: str, value: Any, keys: set[str] | None = None) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.wrong(place, value, "a mapping")
        for key in value:
            if not isinstance(key, str) or (keys is not None and key not in keys):
                known = f"some of {', '.join(sorted(keys))}" if keys is not None else "names in quotes"
                raise self.wrong(f"a key of {place}", key, known)
        return value

    def table(self, place: str, value: Any) -> dict[str, str]:
        given = {} if value is None else self.mapping(place, value)
        return {short: self.text(f"{place}.{short}", full) for short, full in given.items()}

    def texts(self, place: str, value: Any) -> tuple[str, ...]:
        """A list of texts; lists inside it are joined to it."""
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.wrong(place, value, "a list")
        flat = [one for part in value for one in (part if isinstance(part, list) else [part])]
        return tuple(self.text(f"an entry of {place}", one) for one in flat)

    def text(self, place: str, value: Any) -> str:
        # YAML reads an unquoted no, on or 112120 as something else than text.
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(place, value, "a text (in quotes, where YAML reads something else)")
        return value


def _forms(text: str, *, held_out: bool = False) -> list[Form]:
    """One or two forms of ``singular | plural``."""
    singular, _, plural = (part.strip() for part in text.partition("|"))
    forms = [Form(singular, words_of(singular), "singular", held_out)]
    if plural:
        forms.append(Form(plural, words_of(plural), "plural", held_out))
    return forms
