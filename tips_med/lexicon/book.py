"""The lexicon: loads the terms of a language of queries from YAML, checks them, and parses text with them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from tips_med.configs import config_path
from tips_med.errors import ConfigError
from tips_med.lexicon.parser import Entry, Parser
from tips_med.lexicon.terms import Code, Form, Kind, Term
from tips_med.lexicon.tokens import words_of
from tips_med.lexicon.understanding import Query, Role

_TERM_KEYS = {"name", "code", "forms", "adjectives", "held_out", "paired", "within", "structures", "side"}
_SECTIONS = {"name", "terms", "negation", "hedge", "abbreviations", "spelling", "function", "filler"}


class Lexicon:
    """The terms that queries may use, and the words they are written in.

    Args:
        content: What the YAML holds, as read; see ``radiology_configs/lexicons/chest_ct.yaml``.
        path: The file it came from, for errors.

    Raises:
        ConfigError: If a term is incomplete, refers to an unknown one, or shares its words with another of its kind.
    """

    def __init__(self, content: Mapping[str, Any], path: Path | None = None) -> None:
        self._path = path
        unknown = set(content) - _SECTIONS
        if unknown or not isinstance(content.get("terms"), Mapping):
            raise self._wrong(f"sections {sorted(unknown)}" if unknown else "no terms", f"{sorted(_SECTIONS)}")
        self.name = str(content.get("name", path.stem if path else "lexicon"))
        self._terms = {
            term.id: term
            for kind, entries in content["terms"].items()
            for term in (self._term(kind, id, entry) for id, entry in entries.items())
        }
        expected = sum(len(entries) for entries in content["terms"].values())
        if len(self._terms) != expected:
            raise self._wrong("two terms with the same id", "every id once")
        for term in self._terms.values():
            for other in (*term.structures, *((term.within,) if term.within else ())):
                if other not in self._terms or self._terms[other].kind != "structure":
                    raise self._wrong(f"{term.id} refers to {other!r}", "the id of a structure")
        self._negation = _phrases(content.get("negation", {}))
        self._hedge = _phrases(content.get("hedge", {}))
        self._function = tuple(str(word) for word in content.get("function", ()))
        self._filler = tuple(str(word) for words in content.get("filler", ()) for word in words)
        self._expansions = {
            words_of(short): words_of(full)
            for section in ("abbreviations", "spelling")
            for short, full in content.get(section, {}).items()
        }
        self.abbreviations = {str(short): str(full) for short, full in content.get("abbreviations", {}).items()}
        self.spellings = {str(short): str(full) for short, full in content.get("spelling", {}).items()}
        self._entries = self._all_entries()
        self._parser = Parser(self._entries, self._expansions, self._terms, self.suggest)

    @classmethod
    def load(cls, name_or_path: str | Path = "chest_ct") -> Lexicon:
        """Loads a lexicon that ships with the package, or one's own.

        Args:
            name_or_path: A name, or the path of a file that ends in ``.yaml`` or ``.yml``.

        Raises:
            ConfigError: If there is no such lexicon, or its file is wrong.
        """
        text = str(name_or_path)
        path = Path(text) if text.endswith((".yaml", ".yml")) else config_path("lexicons", text)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("cannot be read", path=path, expected="a lexicon in YAML") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"is no valid YAML: {error}", path=path, expected="a lexicon in YAML") from error
        if not isinstance(content, Mapping):
            raise ConfigError("holds no sections", path=path, expected="a lexicon in YAML")
        return cls(content, path)

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms, in the order of the file."""
        return tuple(self._terms.values())

    def term(self, id: str) -> Term:
        """Gives the term with an id.

        Raises:
            ConfigError: If there is none; the nearest ids are named.
        """
        if id not in self._terms:
            near = difflib.get_close_matches(id, self._terms, n=3)
            raise ConfigError(
                f"no term {id!r} in the lexicon {self.name}",
                expected=f"an id such as {', '.join(near or list(self._terms)[:3])}",
                code="unknown-term",
            )
        return self._terms[id]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every single word that a ``Query.phrase`` can hold, sorted: the vocabulary of a text tower.

        Negation, hedges and filler are not among them, for they stay out of phrases; nor are abbreviations, which are
        written out.
        """
        return tuple(
            sorted(
                {
                    word
                    for words, entries in self._entries.items()
                    if entries[0].in_phrase
                    for word in words
                    if word.isalpha()
                }
            )
        )

    def parse(self, text: str) -> Query:
        """Understands a text.

        Args:
            text: At most 300 characters: ``ground-glass opacity left lung``.

        Returns:
            The query; words that are not understood are named in it, never dropped.

        Raises:
            QueryError: If the text names nothing to look for, several findings at once, or contradicts itself.
        """
        return self._parser.parse(text)

    def suggest(self, word: str, count: int = 3) -> tuple[str, ...]:
        """Gives the known words that are written most like an unknown one, the nearest first; maybe none."""
        return tuple(difflib.get_close_matches(word.lower(), self.vocabulary, n=count, cutoff=0.7))

    def _all_entries(self) -> dict[tuple[str, ...], tuple[Entry, ...]]:
        found: dict[tuple[str, ...], list[Entry]] = {}
        for term in self._terms.values():
            for form in term.forms:
                others = found.setdefault(form.words, [])
                if any(entry.role == term.kind and entry.term != term for entry in others):
                    raise self._wrong(f"{form.text!r} stands for two terms of kind {term.kind}", "one")
                others.append(Entry(term.kind, term))
        sayings: tuple[tuple[Role, dict[str, tuple[str, ...]]], ...]
        sayings = (("negation", self._negation), ("hedge", self._hedge))
        for role, phrases in sayings:
            for manner, texts in phrases.items():
                for text in texts:
                    found.setdefault(words_of(text), []).append(Entry(role, None, manner))
        for manner, words in (("", self._function), ("filler", self._filler)):
            for word in words:
                found.setdefault(words_of(word), []).append(Entry("function", None, manner))
        return {words: tuple(entries) for words, entries in found.items()}

    def _term(self, kind: str, id: str, entry: Mapping[str, Any]) -> Term:
        if kind not in get_args(Kind):
            raise self._wrong(f"terms of kind {kind!r}", f"one of {', '.join(get_args(Kind))}")
        if not isinstance(entry, Mapping) or set(entry) - _TERM_KEYS:
            raise self._wrong(f"{id} has other keys than a term", f"some of {sorted(_TERM_KEYS)}")
        forms = [form for text in entry.get("forms", ()) for form in _forms(text)]
        forms += [Form(text, words_of(text), "adjective") for text in entry.get("adjectives", ())]
        forms += [form for text in entry.get("held_out", ()) for form in _forms(text, held_out=True)]
        if not forms or not all(form.words for form in forms):
            raise self._wrong(f"{id} has no words", "at least one form")
        if entry.get("side") not in (None, "left", "right"):
            raise self._wrong(f"{id} has the side {entry['side']!r}", "left or right")
        code = entry.get("code")
        try:
            code = Code(**code) if code else None
        except TypeError as error:
            raise self._wrong(f"the code of {id} is {code!r}", "scheme, value, meaning and source") from error
        return Term(
            id=id,
            kind=cast(Kind, kind),
            name=str(entry.get("name", forms[0].text)),
            forms=tuple(forms),
            code=code,
            paired=bool(entry.get("paired", False)),
            within=entry.get("within"),
            structures=tuple(entry.get("structures", ())),
            side=entry.get("side"),
        )

    def _wrong(self, found: str, expected: str) -> ConfigError:
        return ConfigError(found, path=self._path, expected=expected, code="lexicon")


def _forms(text: str, *, held_out: bool = False) -> list[Form]:
    """One or two forms of ``singular | plural``."""
    singular, _, plural = (part.strip() for part in str(text).partition("|"))
    forms = [Form(singular, words_of(singular), "singular", held_out)]
    if plural:
        forms.append(Form(plural, words_of(plural), "plural", held_out))
    return forms


def _phrases(section: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {manner: tuple(str(text) for text in texts) for manner, texts in section.items()}
