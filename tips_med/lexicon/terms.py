"""Terms of radiology: what may be named in a query, in which words, and under which code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["finding", "structure", "side", "location", "attribute"]
Side = Literal["left", "right", "both"]
WindowName = Literal["lung", "bone", "organ"]


@dataclass(frozen=True)
class Code:
    """A coded concept, as DICOM writes it (PS3.3 section 8.8).

    Attributes:
        scheme: Coding Scheme Designator: ``SCT`` or ``DCM``.
        value: Code Value.
        meaning: Code Meaning.
        source: Source of the code, for example ``DICOM PS3.16 CID 6104``.
    """

    scheme: str
    value: str
    meaning: str
    source: str


@dataclass(frozen=True)
class Form:
    """One way to write a term.

    Attributes:
        text: Text as written: ``ground-glass opacities``.
        words: Words to match, lowercase and split at hyphens: ``("ground", "glass", "opacities")``.
        number: ``adjective`` for forms that stand before a noun, as ``pulmonary`` for lung.
        held_out: Whether the form is left out of training phrases, to test the model with it.
    """

    text: str
    words: tuple[str, ...]
    number: Literal["singular", "plural", "adjective"] = "singular"
    held_out: bool = False


@dataclass(frozen=True)
class Term:
    """A term that a query may name. Which terms a model can find is in the card of its weights.

    Attributes:
        id: Stable name, for code: ``ground_glass_opacity``.
        kind: Kind of term: its part in a query.
        name: Display name: ``ground-glass opacity``.
        forms: All forms, the usual one first.
        code: Verified code; None without one.
        paired: Whether the body has a left and a right one (structures).
        whole: Whether it is in one piece, or each of a pair is: a liver is, ribs are not (structures).
        within: The structure that it is part of (structures), or that it always lies in (findings): an effusion at the
            lung base is not in the lung.
        structures: Structures that a location can be in; the first is meant when the query names none. Empty: any.
        side: Only side that has it: the lingula is of the left lung (locations).
        kinds: Ids of findings that are kinds of it: a mass is a lesion (findings).
        window: Display window that it is read in on CT: ``lung``, ``bone``, or ``organ``: that of the structure that
            the query names. Soft tissue when None.
        spoken: Whether its words may reach a text tower; others are understood, and the answer says that they were not
            checked.
    """

    id: str
    kind: Kind
    name: str
    forms: tuple[Form, ...]
    code: Code | None = None
    paired: bool = False
    whole: bool = False
    within: str | None = None
    structures: tuple[str, ...] = ()
    side: Literal["left", "right"] | None = None
    kinds: tuple[str, ...] = ()
    window: WindowName | None = None
    spoken: bool = True

    @property
    def synonyms(self) -> tuple[str, ...]:
        """The other ways to write it, held-out ones included."""
        return tuple(form.text for form in self.forms if form.text != self.name)

    def taught(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """A held-out way to write it in usual words, of the same number where there are any; others as they are."""
        written = next((form for form in self.forms if form.words == words), None)
        if written is None or not written.held_out:
            return words
        usual = {form.number: form.words for form in reversed(self.forms) if not form.held_out}
        return usual.get(written.number, usual.get("singular", words))
