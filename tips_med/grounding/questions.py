"""Which of some typed queries a model can answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tips_med.errors import QueryError
from tips_med.grounding.answer import Declined
from tips_med.grounding.ground import parse_queries, parse_query
from tips_med.lexicon.nearest import with_nearest
from tips_med.model import GroundingModel
from tips_med.query import Query


def understand(
    texts: Sequence[str], model: GroundingModel, parse: Callable[[str | Query, GroundingModel], Query] = parse_query
) -> tuple[list[Query], list[Declined]]:
    """The queries that the model can answer, and those that it cannot; one of these must not silence the others.

    Args:
        texts: Queries as typed; one text may be several.
        model: Model to ask.
        parse: Parses a question, and raises QueryError for one that is not to be answered.

    Raises:
        QueryError: None of them can be answered.
    """
    queries: list[Query] = []
    declined: list[Declined] = []
    position = 0
    for text in texts:
        try:
            questions: list[Query | str] = [*parse_queries(text, model)]
        except QueryError:
            questions = [text]
        for question in questions:
            try:
                queries.append(parse(question, model))
            except QueryError as error:
                asked = question if isinstance(question, str) else question.text
                told = with_nearest(error, asked, model.lexicon)
                declined.append(Declined(position, asked, told))
            position += 1
    if declined and not queries:
        raise declined[0].error
    return queries, declined
