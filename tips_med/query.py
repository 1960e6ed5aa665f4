"""The query: free text, parsed with a lexicon; every word is accounted for.

    >>> query = Lexicon.load("chest_ct").parse("GGO in the left lung")
    >>> query.finding.id, query.side, query.structure.id
    ('ground_glass_opacity', 'left', 'lung')

Nothing here needs torch.
"""

from tips_med.lexicon import Code, Form, Kind, Lexicon, PhraseWord, Query, Role, Side, Span, Term, load_lexicon

__all__ = ["Code", "Form", "Kind", "Lexicon", "PhraseWord", "Query", "Role", "Side", "Span", "Term", "load_lexicon"]
