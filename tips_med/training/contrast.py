"""Weak pairs of different studies against each other: a report's sentence fits its own scan better than another's.

The phrase pools its own map, so what is compared is the place that the map shows (text-conditioned pooling).
All sentences of a study are right for it and none of them competes with another (multi-positive; Khosla 2020). A
sentence that is as true of most other scans is of no use here and is left out: see ``relations``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.training.studies import PhraseLabel


def relations(studies: Sequence[tuple[Sequence[PhraseLabel], bool]], phrases: Sequence[Sequence[str]]) -> Tensor:
    """How every crop stands to every phrase of a batch.

    A phrase counts when its study has it without a mask, it names a finding, and no crop before has the same;
    identical phrases of several studies are thereby one, right for all of them. Phrases without a finding (*heart of
    normal size*) are true of most scans, and count for none.

    Args:
        studies: Statements about the study of each crop, and whether the crop holds the whole of it.
        phrases: Phrases of each crop; equally many, padded by repetition.

    Returns:
        1 where the phrase is true of the crop, -1 where it is another study's, 0 where nobody knows or it does not
        count, [crop crop*phrase]. Another study's counts if it has neither this phrase nor its finding in other words.
    """
    table = torch.zeros(len(studies), sum(map(len, phrases)))
    column, seen = 0, set()
    for (statements, whole), own in zip(studies, phrases):
        weak = {one.phrase: one.finding for one in statements if one.label == "present" and one.mask is None}
        for phrase in own:
            if whole and weak.get(phrase) and phrase not in seen:
                seen.add(phrase)
                for row, (others, other_whole) in enumerate(studies):
                    table[row, column] = _relation(others, phrase, weak[phrase]) if other_whole else 0
            column += 1
    return table


def _relation(statements: Sequence[PhraseLabel], phrase: str, finding: str) -> int:
    there = [one for one in statements if one.label == "present"]
    if any(one.phrase == phrase for one in there):
        return 1
    return 0 if any(one.finding == finding for one in there) else -1


def pooled_scores(patch_logits: Tensor) -> Tensor:
    """The mean of a map's scores, each counting by its own softmax: [... slab row col] -> [...]."""
    cells = patch_logits.flatten(-3)
    return (cells.softmax(-1) * cells).sum(-1)


def mean_scores(patch_logits: Tensor) -> Tensor:
    """The mean of a map's scores, [... slab row col] -> [...]: the score of the mean patch, as CLIP compares images."""
    return patch_logits.flatten(-3).mean(-1)


def contrast_loss(scores: Tensor, relation: Tensor) -> Tensor:
    """Every right pair against the wrong ones of its phrase, and against the wrong ones of its study.

    Args:
        scores: Pooled scores, [crop phrase].
        relation: Relation from ``relations``, the same shape.

    Returns:
        The mean over right pairs that have a wrong one to stand against; 0 when there are none.
    """
    right, wrong = relation > 0, relation < 0
    total, pairs = scores.new_zeros(()), scores.new_zeros(())
    for dim in (0, 1):
        # Not -inf: where nothing is wrong, the gradient has to be zero and not undefined.
        against = scores.masked_fill(~wrong, -1e4).logsumexp(dim, keepdim=True)
        weight = (right & wrong.any(dim, keepdim=True)).to(scores.dtype)
        total = total + (functional.softplus(against - scores) * weight).sum()
        pairs = pairs + weight.sum()
    return total / pairs.clamp(min=1)
