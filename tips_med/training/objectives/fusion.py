"""What objectives with a multimodal encoder share: layers in which words look at cells, hidden words, drawn pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.objectives.base import TextView

LAYERS, HEADS = 2, 4
"""Sizes of every multimodal encoder here."""

HIDDEN_SHARE = 0.15
"""Share of words that are hidden (Devlin 2019, arXiv:1810.04805): 80% by the mask, 10% by another word, 10% kept."""


class FusionLayer(nn.Module):
    """Words look at words, then at cells, then go through two layers; norm first.

    Args:
        width: Embedding size of words and cells.
        causal: Whether a word sees none that follow.
    """

    def __init__(self, width: int, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, words: Tensor, padding: Tensor, cells: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Words that have looked, and how much each looked at each cell.

        Args:
            words: [n word width].
            padding: Mask of padding, bool [n word].
            cells: [n cell width].
            hidden: Mask of cells that are not seen, bool [n cell].

        Returns:
            [n word width], and attention [n head word cell].
        """
        x = self.norms[0](words)
        mask = None
        if self.causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        words = words + self.own(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=False)[0]
        q = self.query(self.norms[1](words)).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        k, v = self.key_value(cells).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        score = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if hidden is not None:
            score = score.masked_fill(hidden[:, None, None], -1e4)
        attention = score.softmax(-1)
        words = words + self.out((attention @ v).transpose(1, 2).flatten(2))
        return words + self.mlp(self.norms[2](words)), attention


class Fusion(nn.Module):
    """A multimodal encoder: a learned first token and the words of a sentence look at cells.

    Args:
        width: Embedding size.
        layers: Number of layers.
    """

    def __init__(self, width: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(FusionLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, text: TextView, cells: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Sentences [n word width] with cells [n cell width].

        Returns:
            The first token and the words, [n 1+word width]; and the attention of each layer, [n head 1+word cell].
        """
        n = len(text.tokens)
        x = torch.cat([self.first.expand(n, 1, -1), text.tokens], dim=1)
        padding = functional.pad(text.padding, (1, 0), value=False)
        maps = []
        for layer in self.layers:
            x, attention = layer(x, padding, cells, hidden)
            maps.append(attention)
        return self.norm(x), maps


def hide_words(words: Tensor, mask_index: int) -> tuple[Tensor, Tensor]:
    """Sentences with hidden words, and which words were hidden.

    Args:
        words: Indices, 0 for padding, [n word].
        mask_index: Index of the word that hides; all words have lower ones.

    Returns:
        Indices with hidden words; and the words to guess, -100 elsewhere; both [n word]. One a sentence at least.
    """
    real = words > 0
    chance = torch.rand(words.shape, device=words.device).masked_fill(~real, 2.0)
    hidden = (chance < HIDDEN_SHARE) | (chance == chance.amin(1, keepdim=True)) & real
    how = torch.rand(words.shape, device=words.device)
    other = torch.randint(1, mask_index, words.shape, device=words.device)
    given = torch.where(how < 0.8, torch.full_like(words, mask_index), torch.where(how < 0.9, other, words))
    return torch.where(hidden, given, words), torch.where(hidden, words, torch.full_like(words, -100))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Views with sentences, to be told whether they match.

    Attributes:
        view: Number of the view, [n].
        sentence: Number of the sentence, [n].
        match: 1 where they match, else 0, [n].
    """

    view: Tensor
    sentence: Tensor
    match: Tensor


@torch.no_grad()
def hard_pairs(scores: Tensor, relation: Tensor, own: Tensor, wrong_views: bool = True) -> Pairs:
    """One right pair a view, a wrong sentence for each view, and a wrong view for each of these sentences.

    Wrong ones are drawn in proportion to the softmax of the contrastive scores: those that look right come first
    (Li 2021, ALBEF, arXiv:2107.07651).

    Args:
        scores: Contrastive scores, [view sentence].
        relation: 1 where a sentence is true of a view, -1 where it is false, 0 where nobody knows, the same shape.
        own: Mask of the sentences that belong to a view, bool, the same shape.
        wrong_views: Whether there are wrong views, too.
    """
    right, wrong = own & (relation > 0), relation < 0
    views = torch.arange(len(scores), device=scores.device)
    true = right.float().masked_fill(~right.any(1, keepdim=True), 1.0).multinomial(1)[:, 0]
    has = right.any(1)

    def drawn(weights: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        chance = weights.masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num() + 1e-6 * allowed
        there = allowed.any(1)
        return chance.masked_fill(~there[:, None], 1.0).multinomial(1)[:, 0], there

    false, has_false = drawn(scores, wrong)
    other, has_other = drawn(scores.T[true], wrong.T[true])
    keep = torch.cat([has, has_false, has_other & has & wrong_views])
    match = torch.cat([torch.ones_like(views), torch.zeros_like(views), torch.zeros_like(views)])
    view, sentence = torch.cat([views, views, other]), torch.cat([true, false, true])
    return Pairs(view[keep], sentence[keep], match[keep].float())


def own_sentences(crops: int, sentences: int, device: torch.device) -> Tensor:
    """Which sentences belong to which crop, bool [crop crop*sentence]."""
    return torch.eye(crops, dtype=torch.bool, device=device).repeat_interleave(sentences, 1)


def picked(text: TextView, which: Tensor) -> TextView:
    """Some of many sentences, in one row."""
    return TextView(text.tokens[which], text.pooled[which], text.padding[which])


def grad_cam(score: Tensor, attention: Tensor, padding: Tensor) -> Tensor:
    """Where a score comes from, by the attention of words to cells and its gradient (Selvaraju 2017, arXiv:1610.02391).

    Args:
        score: Scores, [n].
        attention: Attention that they were made with, [n head 1+word cell], with a gradient.
        padding: Mask of padded words, bool [n word].

    Returns:
        The attention times its positive gradient, mean over heads and words, [n cell].
    """
    (gradient,) = torch.autograd.grad(score.sum(), attention)
    real = functional.pad(~padding, (1, 0), value=True).float()
    by_word = (attention * gradient.relu()).mean(1)
    return ((by_word * real[..., None]).sum(1) / real.sum(1, keepdim=True)).detach()
