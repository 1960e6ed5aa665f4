"""Completion of what is typed, and what unknown words may have been meant to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tips_med.errors import QueryError
from tips_med.lexicon.nearest import nearest_findings
from tips_med.model import GroundingModel
from tips_med.query import Lexicon

MAX_COMPLETIONS = 8
_WORDS = 4
"""Number of last words that may be the beginning of a known phrase."""


def suggest(text: str, model: GroundingModel) -> dict[str, Any]:
    """Suggestions for a text that is being typed.

    Args:
        text: The text so far.
        model: Model to be asked; what it knows comes first.

    Returns:
        ``completions``: whole texts, each a longer form of ``text``, the most useful first; ``corrections``: for each
        unknown word, ``typed`` and ``suggestions``; ``nearest``: names of known findings that mean about the same,
        where nothing is known.
    """
    lexicon = model.lexicon
    known = {*model.card.findings, *model.card.structures}
    finding_named = any(one.role == "finding" for one in lexicon.matcher.match(text))
    forms = [
        (term.id not in known or (finding_named and term.kind == "finding"), n, form.text)
        for term in lexicon.terms
        if term.kind != "side"
        for n, form in enumerate(term.forms)
        if not form.held_out
    ]
    forms += [(False, 0, side) for side in ("left", "right")]
    found: dict[str, tuple[Any, ...]] = {}
    words = text.lower().split()
    ends_word = text.endswith(" ")
    for count in range(min(_WORDS, len(words)), 0, -1):
        begun = " ".join(words[-count:]) + (" " if ends_word else "")
        head = text[: len(text.rstrip()) - len(" ".join(words[-count:]))] if words else ""
        for unknown, n, form in forms:
            if form.lower().startswith(begun) and form.lower() != begun.strip():
                found.setdefault(head + form, (-count, unknown, n, len(form)))
    corrections = [*_mended(text, lexicon)]
    corrections += [{"typed": word, "suggestions": list(lexicon.suggest(word))} for word in lexicon.unknown_words(text)]
    nearest: list[str] = []
    if corrections and not any(one["suggestions"] for one in corrections):
        nearest = [term.name for term in nearest_findings(text, lexicon) if term.id in known]
    completions = sorted(found, key=lambda one: found[one])[:MAX_COMPLETIONS]
    return {"completions": completions, "corrections": corrections, "nearest": nearest}


def _mended(text: str, lexicon: Lexicon) -> Iterator[dict[str, Any]]:
    """Typing errors that a query mends by itself."""
    try:
        pairs = dict.fromkeys(pair for query in lexicon.parse_each(text) for pair in query.mended)
    except QueryError:
        return
    for typed, meant in pairs:
        yield {"typed": typed, "suggestions": [meant]}
