"""The TIPS text tower behind this library's interface."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.encoders.base import TextFeatures, TextTower
from tips_med.errors import ConfigError, QueryError

if TYPE_CHECKING:
    from transformers.models.tipsv2 import Tipsv2TextModel, Tipsv2Tokenizer

log = logging.getLogger(__name__)

CT_TEMPLATES = ("{}.", "a ct scan of {}.", "an axial ct image showing {}.")
"""Sentences that a phrase is put into. Chosen by hand, compared with nothing."""

PHOTO_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
"""Those of the authors, for photographs (from TCL, Cha 2023); to repeat their figures."""


class TipsTextTower(TextTower):
    """A TIPS text tower.

    Args:
        net: The tower, on the device to run on.
        tokenizer: Tokenizer of the tower.
        name: Name of the weights; the same as the image tower's.
        temperature: Divisor of cosines, from the checkpoint.
        templates: Sentences with one ``{}``; a phrase is put into each and the embeddings are averaged.

    Raises:
        ConfigError: For templates without a place for the phrase.
    """

    def __init__(
        self,
        net: Tipsv2TextModel,
        tokenizer: Tipsv2Tokenizer,
        name: str,
        temperature: float,
        templates: Sequence[str] = CT_TEMPLATES,
    ) -> None:
        wrong = [template for template in templates if template.count("{}") != 1]
        if wrong or not templates:
            raise ConfigError(
                f"the prompt template {wrong[0]!r}" if wrong else "no prompt templates",
                expected="templates with one {} for the phrase",
            )
        self.net, self.tokenizer, self.name = net.eval(), tokenizer, name
        self.temperature, self.templates = temperature, tuple(templates)

    @property
    def width(self) -> int:
        """Size of an embedding."""
        return int(self.net.config.hidden_size)

    def tokens(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Sentences through the tower, with gradients where the caller wants them.

        Returns:
            Token embeddings [sentence token embedding] and sentence embeddings [sentence embedding], neither
            normalised, and the number of tokens of each sentence [sentence].

        Raises:
            QueryError: For a sentence without a token.
        """
        limit = int(self.net.config.max_position_embeddings)
        rows = [self.tokenizer(phrase.lower())["input_ids"] for phrase in phrases]
        if any(not row for row in rows):
            raise QueryError("an empty phrase", expected="words to look for")
        longest = max(map(len, rows))
        if longest > limit:
            log.warning("a phrase of %d tokens was cut to the %d that TIPS reads", longest, limit)
        device = next(self.net.parameters()).device
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row[:limit]) for row in rows], batch_first=True).to(device)
        # The mask is each row's own. In the published tokenizer one row over 64 tokens unmasks the padding of all.
        lengths = torch.tensor([min(len(row), limit) for row in rows], device=device)
        known = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        out = self.net(input_ids=ids, attention_mask=known.long())
        return out.last_hidden_state, out.pooler_output, lengths

    @torch.no_grad()
    def embed(self, phrases: Sequence[str]) -> list[TextFeatures]:
        """See TextTower. All embeddings are unit vectors.

        ``pooled`` is the mean over the templates, as by the authors: each sentence's unit embedding, averaged, made a
        unit vector again. ``tokens`` are those of the bare phrase, one for every word of it, the mean of the word's
        subword tokens; TIPS was never trained to match single words with patches.

        Raises:
            QueryError: For an empty phrase, or one of more than 64 tokens.
        """
        return [
            TextFeatures(tokens.cpu(), pooled.cpu(), tuple(phrase.split()))
            for phrase, (tokens, pooled) in zip(phrases, self.features(phrases))
        ]

    def features(self, phrases: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """What ``embed`` gives, on the tower's device and with gradients where the caller wants them.

        Returns:
            For each phrase, the embeddings of its words [word embedding] and of the phrase [1 embedding], float32.

        Raises:
            QueryError: For an empty phrase, or one of more than 64 tokens.
        """
        pieces = [self._pieces(phrase) for phrase in phrases]
        each = 1 + len(self.templates)
        sentences = [s for p in phrases for s in (p, *(template.replace("{}", p) for template in self.templates))]
        hidden, pooled, _ = self.tokens(sentences)
        hidden = functional.normalize(hidden[::each].float(), dim=-1)
        pooled = functional.normalize(pooled.float(), dim=-1).unflatten(0, (len(phrases), each))
        found = []
        for phrase, own, (_, *templated), of_piece in zip(phrases, hidden, pooled, pieces):
            of_word = torch.tensor(of_piece, device=own.device)
            words = torch.stack([own[: len(of_word)][of_word == n].mean(0) for n in range(len(phrase.split()))])
            mean = torch.stack(templated).mean(0, keepdim=True)
            found.append((functional.normalize(words, dim=-1), functional.normalize(mean, dim=-1)))
        return found

    def _pieces(self, phrase: str) -> list[int]:
        """The word that each subword token of a phrase belongs to."""
        encoded = self.tokenizer(phrase.lower())
        limit = int(self.net.config.max_position_embeddings)
        if len(encoded["input_ids"]) > limit:
            raise QueryError(
                f"{len(encoded['input_ids'])} tokens", expected=f"at most {limit}", remedy="shorten the query"
            )
        if not phrase.split():
            raise QueryError("an empty phrase", expected="words to look for")
        return [n for n in encoded.word_ids(0) if n is not None]
