"""Tables about the language of queries, made by the lexicon and the parser themselves, so that they cannot be wrong.

``lexicon-terms`` lists the terms of one kind. ``lexicon-readings`` shows how each query of its body, one a line, is
understood, and ``lexicon-refusals`` with which message it is refused; a query that is not refused ends the build.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tips_med.errors import QueryError
from tips_med.grounding.ground import parse_query
from tips_med.model import GroundingModel, load_model
from tips_med.query import Lexicon, Query, Term


@cache
def shipped() -> tuple[Lexicon, GroundingModel]:
    """The lexicon, and the model that ships with it."""
    return Lexicon.load("chest_ct"), load_model()


def table(head: list[str], rows: list[list[str]]) -> nodes.table:
    """A table of plain texts; a text in backticks is code."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    for part, lines in ((nodes.thead(), [head]), (nodes.tbody(), rows)):
        for line in lines:
            row = nodes.row()
            for text in line:
                one = nodes.literal(text=text[1:-1]) if text[:1] == "`" else nodes.Text(text)
                row += nodes.entry("", nodes.paragraph("", "", one))
            part += row
        group += part
    return nodes.table("", group, classes=["lexicon"])


class Terms(SphinxDirective):
    """All terms of the kind that is its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Gives the table."""
        lexicon, model = shipped()
        kind = self.arguments[0]
        terms = [term for term in lexicon.terms if term.kind == kind]
        asked = {"finding": model.card.findings, "structure": model.card.structures}.get(kind)
        head = ["term", "written as", "code", *([] if asked is None else ["shipped model"])]
        rows = [self.row(term, asked) for term in terms]
        return [table(head, rows)]

    def row(self, term: Term, asked: tuple[str, ...] | None) -> list[str]:
        """One term."""
        written = ", ".join(form.text for form in term.forms if form.number != "plural")
        code = f"{term.code.scheme} {term.code.value}" if term.code else "-"
        return [term.name, written, code, *([] if asked is None else ["answers" if term.id in asked else "declines"])]


class Readings(SphinxDirective):
    """How queries are understood."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Gives the table."""
        lexicon, _ = shipped()
        return [
            table(
                ["query", "understood as"], [[f"`{text}`", self.meaning(lexicon.parse(text))] for text in self.content]
            )
        ]

    def meaning(self, query: Query) -> str:
        """The fields of a query that are set."""
        parts = {
            "finding": query.finding.name if query.finding else "",
            "structure": query.structure.name if query.structure else "",
            "side": query.side or "",
            "location": ", ".join(term.name for term in query.locations),
            "attribute": ", ".join(term.name for term in query.attributes),
            "size": f"{query.measurement_mm:g} mm" if query.measurement_mm else "",
            "negated": "yes" if query.negated else "",
            "hedged": "yes" if query.hedged else "",
            "not understood": ", ".join(f"“{word}”" for word in query.unknown_words),
        }
        return "; ".join(f"{name}: {value}" for name, value in parts.items() if value)


class Refusals(SphinxDirective):
    """The messages with which queries are refused."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Gives the table."""
        return [table(["query", "code", "message"], [self.row(text) for text in self.content])]

    def row(self, text: str) -> list[str]:
        """One query, which has to be refused."""
        try:
            parse_query(text, shipped()[1])
        except QueryError as error:
            return [f"`{text}`", f"`{error.code}`", str(error)]
        raise self.error(f"{text!r} is not refused")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tells Sphinx of them."""
    app.add_directive("lexicon-terms", Terms)
    app.add_directive("lexicon-readings", Readings)
    app.add_directive("lexicon-refusals", Refusals)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
