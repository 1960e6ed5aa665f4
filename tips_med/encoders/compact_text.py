"""The compact text tower: whole words of a fixed vocabulary, a small transformer, an embedding a token.

Words outside the vocabulary never get here: the query reports them to the user instead of guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.encoders.base import TextFeatures, TextTower
from tips_med.errors import QueryError

MAX_WORDS = 32


@dataclass(frozen=True)
class CompactTextConfig:
    """Sizes of the compact text tower, and its words."""

    vocabulary: tuple[str, ...]
    width: int = 128
    layers: int = 2
    heads: int = 4


class CompactTextNet(nn.Module):
    """Word indices in, an embedding a word and one for the phrase out. Index 0 is padding."""

    def __init__(self, config: CompactTextConfig) -> None:
        super().__init__()
        self.config = config
        self.index = {word: n for n, word in enumerate(config.vocabulary, start=1)}
        self.embedding = nn.Embedding(len(config.vocabulary) + 1, config.width, padding_idx=0)
        self.position = nn.Parameter(torch.randn(MAX_WORDS, config.width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.pool = nn.Linear(config.width, config.width)

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """[phrase word] -> tokens [phrase word width], pooled [phrase width].

        A token keeps half of its own embedding, so that its map stays about the word and not about the phrase.
        """
        padding = indices == 0
        own = self.embedding(indices) + self.position[: indices.shape[1]]
        mixed = self.norm(self.layers(own, src_key_padding_mask=padding))
        known = (~padding)[..., None].to(mixed.dtype)
        mean = (mixed * known).sum(1) / known.sum(1).clamp(min=1)
        return mixed + own, self.pool(functional.gelu(mean))

    def indices(self, phrases: Sequence[str]) -> Tensor:
        """Word indices of phrases, padded to the longest, [phrase word].

        Raises:
            QueryError: A word that is not in the vocabulary, or too many of them.
        """
        rows = []
        for phrase in phrases:
            words = phrase.split()
            unknown = [word for word in words if word not in self.index]
            if unknown or not words:
                raise QueryError(f"the model's vocabulary lacks {', '.join(map(repr, unknown)) or 'this empty phrase'}")
            if len(words) > MAX_WORDS:
                raise QueryError(f"{len(words)} words", expected=f"at most {MAX_WORDS}", remedy="shorten the query")
            rows.append(torch.tensor([self.index[word] for word in words]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)


class CompactTextTower(TextTower):
    """The compact text network as a text tower.

    Args:
        net: Network, on the device to run on.
        adapters: Networks of adapters, each with the number that ``route`` gives its phrases: the first is 1.
        route: Number of the adapter that answers a phrase of these words; 0 for ``net``.
    """

    name = "words-1"

    def __init__(
        self,
        net: CompactTextNet,
        adapters: Sequence[CompactTextNet] = (),
        route: Callable[[Sequence[str]], int] = lambda _: 0,
    ) -> None:
        self.net, self.route = net.eval(), route
        self.nets: tuple[CompactTextNet, ...] = (self.net, *(one.eval() for one in adapters))

    def embed(self, phrases: Sequence[str]) -> list[TextFeatures]:
        """See TextTower."""
        routes = [self.route(phrase.split()) for phrase in phrases]
        found: dict[str, TextFeatures] = {}
        for adapter in dict.fromkeys(routes):
            own = [phrase for phrase, route in zip(phrases, routes) if route == adapter]
            found.update(zip(own, self._embed(own, adapter)))
        return [found[phrase] for phrase in phrases]

    @torch.inference_mode()
    def _embed(self, phrases: Sequence[str], adapter: int) -> list[TextFeatures]:
        net = self.nets[adapter]
        tokens, pooled = net(net.indices(phrases).to(next(net.parameters()).device))
        return [
            TextFeatures(tokens[n, : len(words)].float().cpu(), pooled[n : n + 1].float().cpu(), tuple(words), adapter)
            for n, words in enumerate(phrase.split() for phrase in phrases)
        ]
