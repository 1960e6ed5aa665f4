"""The language of queries: terms with their codes, and what a text means by them."""

from tips_med.lexicon.lexicon import Lexicon, load_lexicon
from tips_med.lexicon.terms import Code, Form, Kind, Side, Term
from tips_med.lexicon.understanding import PhraseWord, Query, Role, Span

__all__ = ["Code", "Form", "Kind", "Lexicon", "PhraseWord", "Query", "Role", "Side", "Span", "Term", "load_lexicon"]
