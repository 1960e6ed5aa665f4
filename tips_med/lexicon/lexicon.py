"""The lexicon: the terms of a language of queries, and the words they are written in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

from tips_med.configs import config_names, config_path
from tips_med.errors import ConfigError
from tips_med.lexicon.content import Content, read_content
from tips_med.lexicon.matching import Entry, Matcher
from tips_med.lexicon.mending import Mender
from tips_med.lexicon.parser import MAX_CHARACTERS, Parser
from tips_med.lexicon.terms import Term
from tips_med.lexicon.tokens import words_of
from tips_med.lexicon.understanding import Query, Role
from tips_med.plugins import load_plugin, plugin_names


class Lexicon:
    """The terms that queries may use, and the words they are written in.

    Args:
        content: Content of a lexicon file.
        text: Text of the file, which travels with a model; empty where there is none.

    Raises:
        ConfigError: If the same words stand for two terms of one kind.
    """

    def __init__(self, content: Content, text: str = "") -> None:
        self.content, self.text = content, text
        self.name = content.name
        self._entries = _entries(content)
        expansions = {
            words_of(other): words_of(full)
            for table in (content.abbreviations, content.spelling, content.readings)
            for other, full in table.items()
        }
        numbered = [words_of(text) for text in content.numbered]
        self.matcher = Matcher(self._entries, expansions, numbered, Mender(self._entries, expansions, content).mend)
        self._parser = Parser(content, self.matcher, self.suggest)

    @classmethod
    def load(cls, name_or_path: str | Path = "chest_ct") -> Lexicon:
        """Loads a lexicon that ships with the package, or one's own.

        Args:
            name_or_path: A name, of this package or of an entry point ``tips_med.lexicons`` of another one; or the path
                of a file that ends in ``.yaml`` or ``.yml``.

        Raises:
            ConfigError: If there is no such lexicon, or its file is wrong.
        """
        name = str(name_or_path)
        if name.endswith((".yaml", ".yml")):
            path = Path(name)
        elif name not in config_names("lexicons") and name in plugin_names("lexicons"):
            path = Path(load_plugin("lexicons", name))
        else:
            path = config_path("lexicons", name)
        return cls(read_content(path), path.read_text(encoding="utf-8"))

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms, in the order of the file."""
        return tuple(self.content.terms.values())

    def term(self, term_id: str) -> Term:
        """Gives the term with an id.

        Raises:
            ConfigError: If there is none; the nearest ids are named.
        """
        known = self.content.terms
        if term_id not in known:
            near = difflib.get_close_matches(term_id, known, n=3) or list(known)[:3]
            raise ConfigError(
                f"no term {term_id!r} in the lexicon {self.name}",
                expected=f"an id such as {', '.join(near)}",
                code="unknown-term",
            )
        return known[term_id]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every single word that a ``Query.phrase`` can hold, sorted: the vocabulary of a text tower.

        Negation, hedges and filler are not among them, for they stay out of phrases; nor are abbreviations, which are
        written out.
        """
        spoken = (words for words, entries in self._entries.items() if entries[0].in_phrase)
        return tuple(sorted({word for words in spoken for word in words}))

    @cached_property
    def known_phrases(self) -> tuple[str, ...]:
        """Every sequence of words that is known as one, sorted; abbreviations and other spellings not among them."""
        return tuple(sorted(" ".join(words) for words in self._entries))

    @cached_property
    def _suggestible(self) -> tuple[str, ...]:
        """Words with a meaning: the vocabulary without function words."""
        return tuple(word for word in self.vocabulary if word not in self.content.function)

    def parse(self, text: str, *, as_written: bool = False) -> Query:
        """Understands a text.

        Args:
            text: Query of at most 300 characters: ``ground-glass opacity left lung``.
            as_written: Keep held-out synonyms in the phrase, to test a text tower with them; otherwise the term's usual
                words replace them.

        Returns:
            The query; words that are not understood are named in it, never dropped.

        Raises:
            QueryError: If the text names nothing to search, several findings at once, or contradicts itself.
        """
        return self._parser.parse(text, as_written=as_written)

    def parse_each(self, text: str, *, as_written: bool = False, limit: int | None = MAX_CHARACTERS) -> list[Query]:
        """Understands every question of a text, one by one: "nodule or effusion, right" is two.

        Args:
            text: One or more findings, structures or places.
            as_written: As of ``parse``.
            limit: The most characters; None for any number.

        Returns:
            The queries in the order of the text; ``Query.source`` says where each stands in it.

        Raises:
            QueryError: If the text names nothing to look for, or contradicts itself.
        """
        return self._parser.parse_each(text, as_written=as_written, limit=limit)

    def unknown_words(self, text: str) -> list[str]:
        """Gives the words of a text that are not known and may be words of its language.

        Names are left out as far as that can be told: only words in small letters count.
        """
        unknown = (text[one.start : one.end] for one in self.matcher.match(text) if one.role == "unknown")
        return [word for word in unknown if word.isalpha() and word.islower() and len(word) > 2]

    def suggest(self, word: str, count: int = 3) -> tuple[str, ...]:
        """Gives the known words that are written most like an unknown one, the nearest first; maybe none."""
        return tuple(difflib.get_close_matches(word.lower(), self._suggestible, n=count, cutoff=0.78))


@cache
def load_lexicon(name: str) -> Lexicon:
    """A lexicon, loaded once."""
    return Lexicon.load(name)


def _entries(content: Content) -> Mapping[tuple[str, ...], tuple[Entry, ...]]:
    """The meanings of every known sequence of words; of several, the first is preferred."""
    found: dict[tuple[str, ...], list[Entry]] = {}

    def add(text: str, role: Role, pattern: str = "") -> None:
        found.setdefault(words_of(text), []).append(Entry(role, None, pattern))

    for text in content.not_understood:
        add(text, "unknown")
    for term in content.terms.values():
        for form in term.forms:
            others = found.setdefault(form.words, [])
            if any(entry.role == term.kind and entry.term != term for entry in others):
                raise ConfigError(f"{form.text!r} stands for two terms of kind {term.kind}", code="lexicon")
            others.append(Entry(term.kind, term))
    for pattern, texts in content.negation.items():
        for text in texts:
            add(text, "negation", pattern)
    for pattern, texts in content.hedge.items():
        for text in texts:
            add(text, "hedge", pattern)
    for text in content.history:
        add(text, "history", "history")
    for text in content.normal:
        add(text, "negation", "normal")
    for text in content.comparison:
        add(text, "comparison")
    for text in content.function:
        add(text, "function")
    for text, number in content.numbers.items():
        found.setdefault(words_of(text), []).append(Entry("function", None, "filler", int(number)))
    for pattern in ("contrary", "relation", "context", "filler"):
        for text in getattr(content, pattern):
            add(text, "function", pattern)
    return {words: tuple(entries) for words, entries in found.items()}
