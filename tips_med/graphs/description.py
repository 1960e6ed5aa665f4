"""What a runtime must know of a model beside its graphs, in JSON's own types."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import tips_med
from tips_med.encoders.compact import DEPTH, CompactImageTower
from tips_med.encoders.compact_text import MAX_WORDS
from tips_med.grounding.coverage import LOBES, THIRDS
from tips_med.grounding.maps import CHEST_STRUCTURES
from tips_med.model import GroundingModel, net_of_model
from tips_med.net import dict_of_config
from tips_med.query import Lexicon, Term

DESCRIPTION = "model.json"


def description_of(model: GroundingModel, kind: str, graphs: dict[str, Any], adapters: list[Any]) -> dict[str, Any]:
    """What ``model.json`` says.

    Args:
        model: A compact model.
        kind: ``onnx`` or ``pt2``.
        graphs: Files of its graphs, by name.
        adapters: The same of each adapter.
    """
    net = net_of_model(model)
    assert isinstance(model.image, CompactImageTower)  # net_of_model has refused others
    return {
        "format": f"tips_med-{kind}-1",
        "tips_med": tips_med.__version__,
        "weights_sha256": model.sha256,
        "graphs": graphs,
        "adapters": [
            {
                "phrases": list(one.config.phrases),
                "vocabulary": list(one.config.text.vocabulary),
                "graphs": files,
            }
            for one, files in zip(model.adapters, adapters)
        ],
        "image": {**dict_of_config(net.image.config), "multiple": DEPTH, "reach_slabs": model.image.reach},
        "max_words": MAX_WORDS,
        "vocabulary": list(net.text.config.vocabulary),
        "card": json.loads(json.dumps(dataclasses.asdict(model.card))),
        "language": language_of(model),
    }


def language_of(model: GroundingModel) -> dict[str, Any]:
    """The terms that the model answers, and the words for them: enough for plain questions, without a parser.

    ``phrase`` is what a term's map is made of, as in ``tips_med.ground``; ``forms`` are all ways to write it.
    """
    lexicon, card = model.lexicon, model.card
    terms = {term.id: term for term in lexicon.terms}
    findings, structures = ([terms[one] for one in ids] for ids in (card.findings, card.structures))
    places = [terms[one] for one in CHEST_STRUCTURES if one in terms]
    known = {
        "findings": [
            {**_term(one), "within": one.within, "kinds": [kind for kind in one.kinds if kind in card.findings]}
            for one in findings
        ],
        "structures": [{**_term(one), "paired": one.paired, "whole": one.whole} for one in structures],
        "places": [_term(one) for one in places],
        "locations": [
            {**_term(one), "heights": list(THIRDS[one.id]), "side": one.side, "by_estimate": one.id in LOBES}
            for one in lexicon.terms
            if one.kind == "location" and one.id in THIRDS
        ],
        "sides": {one.id: _forms(one) for one in lexicon.terms if one.kind == "side"},
        "filler": sorted(lexicon.content.function),
    }
    return {**known, "abbreviations": _abbreviations(lexicon, known)}


def _term(term: Term) -> dict[str, Any]:
    return {"id": term.id, "name": term.name, "phrase": " ".join(term.forms[0].words), "forms": _forms(term)}


def _forms(term: Term) -> list[str]:
    return list(dict.fromkeys(" ".join(form.words) for form in term.forms))


def _abbreviations(lexicon: Lexicon, known: dict[str, Any]) -> dict[str, str]:
    """The abbreviations whose words are all among those of the known terms."""
    terms = [one for kind in ("findings", "structures", "places", "locations") for one in known[kind]]
    forms: Iterable[str] = [form for one in terms for form in one["forms"]]
    words = {word for form in forms for word in form.split()}
    words |= {word for forms in known["sides"].values() for form in forms for word in form.split()}
    found = {}
    for short, full in lexicon.content.abbreviations.items():
        written = full.replace("-", " ").lower()
        if short.isalnum() and words.issuperset(written.split()):
            found[short] = written
    return found
