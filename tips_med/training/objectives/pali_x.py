"""PaLI-X: one decoder that writes whatever is asked for (Chen 2023, arXiv:2305.18565).

Every task is text: "locate" and a sentence are answered by *yes* and four tokens of a box, or by *no*; "describe" and
the four tokens of a box are answered by a sentence. Positions are tokens, as in Pix2seq (Chen 2022, arXiv:2109.10852).
The box that is written, drawn, is the map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective, SharedTowers, TextView
from tips_med.training.objectives.boxes import drawn
from tips_med.training.objectives.fusion import FusionLayer

LAYERS, BINS, LONGEST = 3, 64, 24
"""Layers of the decoder, positions along each side of a crop, and the longest answer in tokens."""

END, YES, NO, LOCATE, DESCRIBE = range(1, 6)
SPECIAL = 6
"""Tokens before those of words; 0 is padding."""


class PaliX(Objective):
    """PaLI-X's objective; see the module."""

    dense = True

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__(towers)
        width = towers.width
        self.first_bin = SPECIAL + towers.mask_index  # words have their own numbers, from SPECIAL + 1 on
        self.embedding = nn.Embedding(self.first_bin + BINS, width)
        self.position = nn.Parameter(torch.randn(LONGEST + 8, width) * 0.02)
        self.layers = nn.ModuleList(FusionLayer(width, causal=True) for _ in range(LAYERS))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, self.first_bin + BINS)
        self.side = nn.Parameter(torch.randn(2, width) * 0.02)  # what the decoder looks at: cells, words

    def _decode(self, tokens: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Logits of the next token at each place, [n place token]."""
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for layer in self.layers:
            x, _ = layer(x, torch.zeros_like(tokens, dtype=torch.bool), memory, hidden)
        return self.out(self.norm(x))

    def _memory(self, image: ImageView, text: TextView, crop: Tensor) -> tuple[Tensor, Tensor]:
        """What is looked at: cells and the words that were asked, [n cell+word width], and which are padding."""
        cells = image.tokens[crop]
        memory = torch.cat([cells + self.side[0], text.tokens + self.side[1]], dim=1)
        return memory, functional.pad(text.padding, (cells.shape[1], 0), value=False)

    def _bins(self, box: Tensor) -> Tensor:
        """Tokens of boxes, [n 4]."""
        return self.first_bin + (box.nan_to_num(0.0) * BINS).long().clamp(0, BINS - 1)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        crops, sentences = batch.meaning.shape
        words, box = batch.words.flatten(0, 1), batch.boxed().flatten(0, 1)
        n, device = len(words), words.device
        crop = torch.arange(crops, device=device).repeat_interleave(sentences)
        text = self.towers.read(words)
        there = box[:, 0].isfinite()
        bins = self._bins(box)
        start, end = torch.full((n, 1), LOCATE, device=device), torch.full((n, 1), END, device=device)
        answer = torch.where(there[:, None], YES, NO)
        place = torch.where(there[:, None], torch.cat([bins, end], 1), 0)
        place[:, 0] = torch.where(there, place[:, 0], END)
        located = torch.cat([start, answer, place], 1)
        memory, hidden = self._memory(image, text, crop)
        terms = {"locate": self._written(located, memory, hidden, 1)}
        # Describing has nothing but cells to look at.
        some = there.nonzero()[:, 0]
        tail = functional.pad(words[some], (0, 1))
        tail = torch.where(tail > 0, tail + SPECIAL, tail)
        tail[torch.arange(len(some)), (words[some] > 0).sum(1)] = END
        described = torch.cat([torch.full((len(some), 1), DESCRIBE, device=device), bins[some], tail], 1)
        cells = image.tokens[crop[some]] + self.side[0]
        blind = torch.zeros(cells.shape[:2], dtype=torch.bool, device=device)
        terms["describe"] = self._written(described[:, : LONGEST + 5], cells, blind, 5)
        return terms

    def _written(self, tokens: Tensor, memory: Tensor, hidden: Tensor, given: int) -> Tensor:
        """Cross-entropy of the tokens that follow the given ones."""
        logits = self._decode(tokens[:, :-1], memory, hidden)[:, given - 1 :]
        return functional.cross_entropy(logits.flatten(0, 1), tokens[:, given:].flatten(), ignore_index=0)

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective. The box is written token by token, whatever the answer to *is it there* was."""
        memory, hidden = self._asked(batch, image)
        tokens = torch.full((len(memory), 2), LOCATE, device=memory.device)
        tokens[:, 1] = YES
        for _ in range(4):
            chances = self._decode(tokens, memory, hidden)[:, -1, self.first_bin :]
            tokens = torch.cat([tokens, self.first_bin + chances.argmax(-1, keepdim=True)], 1)
        low, high = (tokens[:, 2:4], tokens[:, 4:6])
        box = torch.cat([low, torch.maximum(low, high)], 1) - self.first_bin
        box = (box + 0.5) / BINS
        size = image.fine.shape[2], image.fine.shape[3]
        return drawn(box.unflatten(0, (-1, batch.words.shape[1])), size)[:, :, None]

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        memory, hidden = self._asked(batch, image)
        tokens = torch.full((len(memory), 1), LOCATE, device=memory.device)
        logits = self._decode(tokens, memory, hidden)[:, -1]
        return (logits[:, YES] - logits[:, NO]).unflatten(0, (-1, batch.words.shape[1]))

    def _asked(self, batch: AlignmentBatch, image: ImageView) -> tuple[Tensor, Tensor]:
        crops, sentences = batch.words.shape[:2]
        crop = torch.arange(crops, device=batch.words.device).repeat_interleave(sentences)
        return self._memory(image, self.towers.read(batch.words.flatten(0, 1)), crop)

    @torch.no_grad()
    def describe(self, box: Tensor, image: ImageView, vocabulary: Sequence[str]) -> list[str]:
        """What is in a box of each crop, in words.

        Args:
            box: Boxes, [crop 4].
            image: Features of the crops.
            vocabulary: Words by index, from 1.
        """
        memory = image.tokens + self.side[0]
        blind = torch.zeros(memory.shape[:2], dtype=torch.bool, device=memory.device)
        tokens = torch.cat([torch.full((len(box), 1), DESCRIBE, device=box.device), self._bins(box)], 1)
        for _ in range(LONGEST - 1):
            chances = self._decode(tokens, memory, blind)[:, -1]
            chances[:, SPECIAL + 1 :][:, len(vocabulary) :] = -torch.inf  # neither the hidden word nor a position
            chances[:, [0, YES, NO, LOCATE, DESCRIBE, SPECIAL]] = -torch.inf
            tokens = torch.cat([tokens, chances.argmax(-1, keepdim=True)], 1)
        texts = []
        for row in tokens[:, 5:].tolist():
            kept: list[int] = row[: row.index(END)] if END in row else row
            texts.append(" ".join([vocabulary[token - SPECIAL - 1] for token in kept]))
        return texts
