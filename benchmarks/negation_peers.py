"""Own negation against negspacy and medspaCy's ConText, on the statements of ``tests/language``.

    pip install negspacy        # or medspacy: neither is a dependency of tips_med
    python -m benchmarks.negation_peers

All get the same findings, at the same place in the text; what is compared is only whether each is said to be there. Of
each text the findings count that are named once, and whose place in the text is found by the lexicon.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.language import FOLDER, read_meaning, read_statements
from tips_med.errors import QueryError
from tips_med.query import Lexicon

Mention = tuple[str, int, int]
"""Id of a finding, and where it stands."""


def mentions(lexicon: Lexicon, text: str) -> list[Mention]:
    """The findings that the lexicon finds in a text, before anything is made of them."""
    matches = lexicon.matcher.match(text)
    return [(one.term.id, one.start, one.end) for one in matches if one.role == "finding" and one.term is not None]


def own(lexicon: Lexicon) -> Callable[[str, list[Mention]], dict[str, bool]]:
    """The parser of this package."""

    def judge(text: str, found: list[Mention]) -> dict[str, bool]:
        try:
            queries = lexicon.parse_each(text)
        except QueryError:
            return {}
        return {query.finding.id: query.negated for query in queries if query.finding is not None}

    return judge


def spacy_peer(component: str) -> Callable[[str, list[Mention]], dict[str, bool]]:
    """A pipeline of spaCy with one of the peers."""
    import spacy

    if component == "negspacy":
        import negspacy.negation  # noqa: F401, it registers its component

        nlp = spacy.blank("en")
        nlp.add_pipe("sentencizer")
        nlp.add_pipe("negex")
    else:
        import medspacy  # noqa: F401, it registers its components

        nlp = spacy.blank("en")
        nlp.add_pipe("medspacy_pyrush" if nlp.has_factory("medspacy_pyrush") else "sentencizer")
        nlp.add_pipe("medspacy_context")
    pipes = dict(nlp.pipeline)

    def judge(text: str, found: list[Mention]) -> dict[str, bool]:
        doc = nlp.make_doc(text)
        spans = [doc.char_span(start, end, label=term, alignment_mode="expand") for term, start, end in found]
        doc.ents = spacy.util.filter_spans([span for span in spans if span is not None])
        for pipe in pipes.values():
            doc = pipe(doc)
        flag = "negex" if component == "negspacy" else "is_negated"
        return {ent.label_: bool(getattr(ent._, flag)) for ent in doc.ents}

    return judge


def main() -> None:
    """Prints the table."""
    lexicon = Lexicon.load("chest_ct")
    judges = {"tips_med": own(lexicon)}
    judges |= {name: spacy_peer(name) for name in ("negspacy", "medspacy") if find_spec(name) is not None}
    print("| negation by | texts | findings | right | said absent, is not | missed absent |\n|---|---|---|---|---|---|")
    for file in ("statements", "statements_held_out"):
        for name, judge in judges.items():
            print(_row(f"{name}, {file}", lexicon, judge, file))


def _row(title: str, lexicon: Lexicon, judge: Callable[[str, list[Mention]], dict[str, bool]], file: str) -> str:
    texts = findings = right = false = missed = 0
    for _, text, meaning in read_statements(FOLDER / f"{file}.txt"):
        if meaning == "none" or meaning.startswith("lang:"):
            continue
        meant: dict[str, list[bool]] = {}
        for part in meaning.split(";"):
            one = read_meaning(part)
            meant.setdefault(one.subject, []).append(one.state == "absent")
        found = mentions(lexicon, text)
        named = [term for term, _, _ in found]
        said = judge(text, found)
        texts += 1
        for subject, states in meant.items():
            if named.count(subject) != 1 or len(set(states)) != 1:
                continue
            findings += 1
            guess = said.get(subject, False)
            right += guess == states[0]
            false += guess and not states[0]
            missed += states[0] and not guess
    return f"| {title} | {texts} | {findings} | {right / findings:.1%} | {false} | {missed} |"


if __name__ == "__main__":
    main()
