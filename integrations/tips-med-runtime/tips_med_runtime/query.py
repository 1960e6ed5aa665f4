"""What is asked: one finding or structure, its side, and a part of the lung."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Side = Literal["left", "right", "both"]


@dataclass(frozen=True)
class Term:
    """A finding, a structure or a place.

    Attributes:
        id: Stable name: ``ground_glass_opacity``.
        name: Name to show: ``ground-glass opacity``.
        phrase: Words that its map is made of, of the model's vocabulary.
        kinds: Ids of findings that are kinds of it: a mass is a lesion.
        within: Structure that it always lies in; None for any.
        paired: Whether the body has a left and a right one.
        whole: Whether it is in one piece, or each of a pair is.
        side: The only side that has it.
        by_estimate: Whether it is estimated from the lung's shape, or taken by height in it, as lobes are.
    """

    id: str
    name: str
    phrase: str
    kinds: tuple[str, ...] = ()
    within: str | None = None
    paired: bool = False
    whole: bool = False
    side: Literal["left", "right"] | None = None
    by_estimate: bool = False


@dataclass(frozen=True)
class Query:
    """A question that was understood whole.

    Attributes:
        text: As typed.
        finding: What is looked for; None when only a structure is.
        structure: Structure that is looked for, or that the finding is looked for in; None when none is named.
        side: Side of the patient; None when none is named.
        locations: Parts of the lung by height.
    """

    text: str
    finding: Term | None = None
    structure: Term | None = None
    side: Side | None = None
    locations: tuple[Term, ...] = field(default=())
