"""The lexicon that queries are read by, and short views of what was understood."""

from tips_med.query import Lexicon, Query

LEXICON = Lexicon.load("chest_ct")

SIDES = ("left", "right", "both")
WORDS = sorted(
    {*LEXICON.known_phrases, *" ".join(LEXICON.known_phrases).split(), *LEXICON.content.abbreviations}
    | {"32 mm", "foo", "non"}
)
"""Words that forms are made of."""


def parse(text: str) -> Query:
    return LEXICON.parse(text)


def ids(query: Query) -> tuple[str | None, str | None, str | None]:
    return (
        query.finding.id if query.finding else None,
        query.structure.id if query.structure else None,
        query.side,
    )
