"""A grammar of radiology phrasing: writes queries and sentences of reports in many ways.

What is written is read back with the same lexicon before it is given out, so that a phrase always means its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from tips_med.errors import QueryError
from tips_med.lexicon import Form, Lexicon, Query, Side, Term
from tips_med.lexicon.tokens import words_of

_T = TypeVar("_T")
_TRIES = 64


@dataclass(frozen=True)
class PhraseSlots:
    """The content of a phrase, as ids of a lexicon's terms.

    Attributes:
        finding: Finding; None for a structure alone.
        structure: Structure, as ``Lexicon.parse`` returns it: a lobe is of the lung, even where the phrase doesn't name
            it.
        side: Side, as ``Lexicon.parse`` returns it: the lingula is on the left.
        locations: Parts of the structure.
        attributes: Attributes of the finding.
        negated: Whether the phrase negates it.
        hedged: Whether the phrase hedges it.
        size_mm: Size in mm, written to a tenth of a millimetre; None for none.
    """

    finding: str | None = None
    structure: str | None = None
    side: Side | None = None
    locations: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    negated: bool = False
    hedged: bool = False
    size_mm: float | None = None


def slots_of(query: Query) -> PhraseSlots:
    """Gives the slots that a query fills."""
    return PhraseSlots(
        finding=query.finding.id if query.finding else None,
        structure=query.structure.id if query.structure else None,
        side=query.side,
        locations=tuple(sorted(term.id for term in query.locations)),
        attributes=tuple(sorted(term.id for term in query.attributes)),
        negated=query.negated,
        hedged=query.hedged,
        size_mm=query.measurement_mm,
    )


def describe(slots: PhraseSlots, rng: np.random.Generator, lexicon: Lexicon, *, held_out: bool = False) -> str:
    """Writes a phrase: terse, as a sentence or as in a report, with abbreviations, spellings and plurals that vary.

    Args:
        slots: Content of the phrase.
        rng: Random generator that chooses the wording.
        lexicon: Lexicon of the phrase.
        held_out: Whether to write findings with held-out synonyms, where there are any;
            otherwise these are never written.

    Returns:
        A phrase that ``lexicon.parse`` understands as ``slots``.

    Raises:
        QueryError: If the slots contradict themselves or name nothing, so that no phrase can have them.
        ConfigError: If the lexicon has no term of an id.
    """
    return describe_as_query(slots, rng, lexicon, held_out=held_out).text


def describe_as_query(
    slots: PhraseSlots, rng: np.random.Generator, lexicon: Lexicon, *, held_out: bool = False
) -> Query:
    """Writes a phrase as ``describe`` does, and gives what the lexicon understands of it: it was read once already.

    Arguments and errors are those of ``describe``; ``text`` of the query is what was written.
    """
    size_mm = None if slots.size_mm is None else round(float(slots.size_mm), 1)
    wanted = PhraseSlots(
        slots.finding,
        slots.structure,
        slots.side,
        tuple(sorted(slots.locations)),
        tuple(sorted(slots.attributes)),
        slots.negated,
        slots.hedged,
        size_mm,
    )
    problem: QueryError | None = None
    for _ in range(_TRIES):
        text = _Writer(rng, lexicon, held_out).write(wanted)
        try:
            query = _read(lexicon, text)
        except QueryError as error:
            problem = error
            continue
        if slots_of(query) == wanted and not query.unknown_words:
            return query
    raise QueryError(
        f"no phrase has {slots}",
        expected="slots that agree with each other",
        remedy=str(problem) if problem else "name a finding or a structure that the rest can belong to",
        code="unspeakable",
    ) from problem


@lru_cache(maxsize=50_000)
def _read(lexicon: Lexicon, text: str) -> Query:
    """Phrases come up again in a long training."""
    return lexicon.parse(text)


class _Writer:
    """Writes one phrase; every choice is drawn from one generator."""

    def __init__(self, rng: np.random.Generator, lexicon: Lexicon, held_out: bool) -> None:
        self.rng, self.lexicon, self.held_out = rng, lexicon, held_out

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self.rng.integers(len(choices)))]

    def write(self, slots: PhraseSlots) -> str:
        if slots.finding is None:
            return self.finish(self.whole(slots, self.structure_alone(slots), "is"))
        plural = self.chance(0.95 if "multiple" in slots.attributes else 0.2)
        noun = self.noun(self.lexicon.term(slots.finding), plural)
        verb = "are" if noun.number == "plural" else "is"
        return self.finish(self.whole(slots, self.finding_somewhere(slots, noun), verb))

    def structure_alone(self, slots: PhraseSlots) -> str:
        attributes = [self.adjective(term_id) for term_id in slots.attributes]
        question = self.pick(["where is", "show", "outline"]) if self.chance(0.2) else ""
        article = bool(question) or self.chance(0.3)
        return _joined(question, *attributes, self.place(slots, article=article), self.size_after(slots))

    def finding_somewhere(self, slots: PhraseSlots, noun: Form) -> str:
        late = [term_id for term_id in slots.attributes if self.nouns(term_id) and self.chance(0.3)]
        adjectives = [self.adjective(term_id) for term_id in slots.attributes if term_id not in late]
        self.rng.shuffle(adjectives)
        tail = " ".join(f"with {self.noun(self.lexicon.term(term_id), self.chance(0.5)).text}" for term_id in late)
        size_first = slots.size_mm is not None and self.chance(0.4)
        size_before = self.length(slots.size_mm) if size_first and slots.size_mm is not None else ""
        size_after = "" if size_first else self.size_after(slots)
        what = _joined(size_before, *adjectives, noun.text)
        anywhere = not (slots.side or slots.structure or slots.locations)
        if anywhere:
            return _joined(self.sentence(what, noun, slots), tail, size_after)
        manner: Callable[..., str] = self.pick(
            [self.before, self.before, self.after, self.inside, self.inside, self.label]
        )
        return _joined(manner(slots, what, noun, tail), size_after)

    def before(self, slots: PhraseSlots, what: str, noun: Form, tail: str) -> str:
        """As in "left lung ground-glass opacity"."""
        whole = _joined(self.place(slots, article=False, adjectives=True), what)
        return _joined(self.sentence(whole, noun, slots), tail)

    def after(self, slots: PhraseSlots, what: str, noun: Form, tail: str) -> str:
        """As in "ground-glass opacity left lung"."""
        return _joined(what, tail, self.place(slots, article=False))

    def inside(self, slots: PhraseSlots, what: str, noun: Form, tail: str) -> str:
        """As in "there is ground-glass opacity in the left lung"."""
        preposition = self.pick(["in", "in", "in", "of", "within", "at", "involving"])
        place = self.place(slots, article=True)
        if slots.structure is None and slots.side is not None and not slots.locations:
            preposition = "on" if slots.side != "both" else self.pick(["on", "in"])
        if place == "bilaterally":
            preposition = ""
        where = _joined(preposition, place)
        if self.chance(0.1) and not slots.negated and not slots.hedged and preposition not in ("of", "involving"):
            return _joined(where, self.there(what, noun), tail)
        return _joined(self.sentence(what, noun, slots), tail, where)

    def label(self, slots: PhraseSlots, what: str, noun: Form, tail: str) -> str:
        """As in "left lung: ground-glass opacity"."""
        if slots.negated or slots.hedged:
            return self.before(slots, what, noun, tail)
        return _joined(self.place(slots, article=False) + ":", what, tail)

    def sentence(self, what: str, noun: Form, slots: PhraseSlots) -> str:
        """The finding, with or without a verb; negation and hedges bring their own."""
        if slots.negated or slots.hedged or self.chance(0.6):
            return what
        if self.chance(0.5):
            return self.there(what, noun)
        verb = "are" if noun.number == "plural" else "is"
        return _joined(what, verb, self.pick(["seen", "present", "noted"]))

    def there(self, what: str, noun: Form) -> str:
        if noun.number == "plural":
            return f"there are {what}"
        return f"there is {self.article(what) if self.countable(noun) else ''} {what}"

    def whole(self, slots: PhraseSlots, text: str, verb: str) -> str:
        """With its negation or hedge."""
        negation, hedge = self.lexicon.content.negation, self.lexicon.content.hedge
        if slots.negated and slots.hedged:
            return _joined(text, self.pick([verb, ""]), self.pick(negation["hedged"]))
        if not slots.negated and not slots.hedged:
            return text
        sayings = negation if slots.negated else hedge
        if self.chance(0.7):
            return _joined(self.pick(sayings["before"]), text)
        if self.chance(0.5):
            return _joined(text, self.pick([":", ""]), self.pick(sayings["after"]))
        return _joined(text, self.pick([verb, verb, ""]), self.pick(sayings["predicate"]))

    def place(self, slots: PhraseSlots, *, article: bool, adjectives: bool = False) -> str:
        """The side, the locations and the structure, in one of their orders."""
        locations = [self.lexicon.term(term_id) for term_id in slots.locations]
        structure = self.lexicon.term(slots.structure) if slots.structure else None
        implied = structure is not None and any(term.structures[:1] == (structure.id,) for term in locations)
        unsaid_side = any(term.side == slots.side for term in locations) and self.chance(0.3)
        side = None if unsaid_side else slots.side
        said = None if structure is None or (implied and self.chance(0.7)) else structure
        nouns: list[str] = []
        before: list[str] = []
        for term in locations:
            adjective = [form.text for form in term.forms if form.number == "adjective"]
            if adjective and (adjectives or not self.nouns(term.id) or (said is not None and self.chance(0.6))):
                before.append(self.pick(adjective))
            else:
                nouns.append(self.noun(term, side == "both").text)
        the = "the" if article and side != "both" else ""
        where = " and ".join(nouns)
        if said is None:
            if not nouns and not before:
                return self.side_alone(side, article)
            return _joined(the, self.side(side), *before, where)
        organ = self.organ(said, side, adjectives and not nouns)
        if not nouns:
            front = [*before, self.side(side)] if self.chance(0.5) else [self.side(side), *before]
            return _joined(the, *front, organ)
        if not adjectives and self.chance(0.5):
            inner = _joined("the" if side != "both" else "", self.side(side), *before, organ)
            return _joined("the" if article else "", where, "of", inner)
        if adjectives or self.chance(0.5):
            return _joined(the, self.side(side), *before, organ, where)
        return _joined(the, self.side(side), *before, where, "of the", organ)

    def organ(self, term: Term, side: Side | None, before_noun: bool) -> str:
        adjectives = [form.text for form in term.forms if form.number == "adjective"]
        if before_noun and adjectives and self.chance(0.4):
            return self.pick(adjectives)
        plural = side == "both" or (side is None and self.chance(0.15))
        return self.noun(term, plural).text

    def side(self, side: Side | None) -> str:
        if side is None:
            return ""
        if side == "both":
            return self.pick(["both", "bilateral", "left and right"])
        return side if self.chance(0.85) else f"{side}-sided"

    def side_alone(self, side: Side | None, article: bool) -> str:
        if side is None:
            return ""
        if side == "both":
            return self.pick(["both sides", "bilaterally"]) if article else self.pick(["bilateral", "bilaterally"])
        return (
            f"the {side}{self.pick([' side', ''])}" if article else self.pick([side, f"{side}-sided", f"{side} side"])
        )

    def nouns(self, term_id: str) -> list[Form]:
        return [form for form in self.lexicon.term(term_id).forms if form.number != "adjective" and not form.held_out]

    def noun(self, term: Term, plural: bool) -> Form:
        """A form of a term, the usual one half of the time."""
        known = [form for form in term.forms if form.number != "adjective" and form.held_out == self.held_out]
        known = known or [form for form in term.forms if form.number != "adjective" and not form.held_out]
        fitting = [form for form in known if (form.number == "plural") == plural] or known
        if not fitting:
            return Form(self.adjective(term.id), ())
        return fitting[0] if self.chance(0.5) else self.pick(fitting)

    def adjective(self, term_id: str) -> str:
        forms = [form.text for form in self.lexicon.term(term_id).forms if form.number == "adjective"]
        return forms[0] if forms and self.chance(0.5) else self.pick(forms or [self.nouns(term_id)[0].text])

    def countable(self, noun: Form) -> bool:
        """Whether the lexicon gives this form a plural: only then it takes an article."""
        for term in self.lexicon.terms:
            if noun in term.forms:
                following = term.forms[term.forms.index(noun) + 1 :]
                return bool(following) and following[0].number == "plural"
        return False

    def article(self, what: str) -> str:
        return "an" if what[:1] in "aeiou" and not what.startswith("uni") else "a"

    def size_after(self, slots: PhraseSlots) -> str:
        if slots.size_mm is None:
            return ""
        length = self.length(slots.size_mm)
        return self.pick([f"measuring {length}", length, f"({length})", f", {length}", f"measures up to {length}"])

    def length(self, size_mm: float) -> str:
        sizes = [size_mm, round(size_mm * self.rng.uniform(0.5, 1.0), 1)][: 2 if self.chance(0.25) else 1]
        if min(sizes) <= 0.0:
            sizes = [size_mm]
        scale, unit = (10.0, "cm") if self.chance(0.3) else (1.0, "mm")
        gap = self.pick([" ", " ", "", "-"])
        return (
            self.pick([" x ", " by "]).join(f"{size / scale:.3f}".rstrip("0").rstrip(".") for size in sizes)
            + gap
            + unit
        )

    def finish(self, text: str) -> str:
        """Abbreviations, spelling, hyphens, capitals and a full stop."""
        if self.chance(0.35):
            text = self.replaced(text, self.lexicon.content.abbreviations, str.upper)
        if self.chance(0.3):
            text = self.replaced(text, self.lexicon.content.spelling, str)
        if self.chance(0.4):
            text = text.replace("-", " ")
        if self.chance(0.3):
            text = text[:1].upper() + text[1:]
        elif self.chance(0.03):
            text = text.upper()
        return text + self.pick(["", "", "", "."])

    def replaced(self, text: str, table: Mapping[str, str], style: Callable[[str], str]) -> str:
        """With one of the table's short or other ways to write something, if it has one for words of this text."""
        words = f" {' '.join(text.split())} "
        fitting = [(short, full) for short, full in table.items() if f" {full} " in words and words_of(full)]
        if not fitting:
            return text
        # The longest first, so that "LLL" is not lost to "L lower lobe".
        longest = max(len(full.split()) for _, full in fitting)
        short, full = self.pick([one for one in fitting if len(one[1].split()) == longest])
        return words.replace(f" {full} ", f" {style(short)} ").strip()


def _joined(*parts: str) -> str:
    return " ".join(" ".join(parts).split()).replace(" :", ":").replace(" ,", ",")
