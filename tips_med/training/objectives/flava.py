"""FLAVA: one model of images, of texts and of both (Singh 2022, arXiv:2112.04482).

Contrast, matching, and hidden parts: of images alone, of texts alone, and of both together in a multimodal encoder in
which cells and words attend to each other. All terms weigh the same. FLAVA locates nothing; its map here is the
gradient of the matching logit, times each cell that goes into the multimodal encoder (Grad-CAM; Selvaraju 2017).

What is not FLAVA: the visual words that hidden cells are to be told as are not a dVAE's but the nearest entries of a
random codebook under a random projection of the pixels (Chiu 2022, BEST-RQ, arXiv:2202.01855).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.contrast import contrast_loss
from tips_med.training.objectives.base import CELL, AlignmentBatch, ImageView, Objective, SharedTowers, TextView
from tips_med.training.objectives.clip import Projections
from tips_med.training.objectives.fusion import hard_pairs, hide_words, own_sentences, picked

LAYERS, HEADS, CODES, CODE_WIDTH = 2, 4, 256, 16
BLOCK, HIDDEN = 16, 0.4
"""Pixels along an edge of a hidden block, and the share of blocks that are hidden, FLAVA's 40% (BEiT's)."""


class Codebook(nn.Module):
    """Visual words: random, fixed.

    Args:
        channels: Channels of a pixel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("project", torch.randn(channels * CELL * CELL, CODE_WIDTH, generator=generator))
        codes = torch.randn(CODES, CODE_WIDTH, generator=generator)
        self.register_buffer("codes", functional.normalize(codes, dim=-1))
        self.project: Tensor
        self.codes: Tensor

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """The visual word of each cell: [crop slab channel y x] -> [crop cell]."""
        cells = functional.unfold(pixels.flatten(0, 1), CELL, stride=CELL).transpose(1, 2)
        cells = cells - cells.mean((0, 1))  # without it all cells would lie in one direction
        found = functional.normalize(cells @ self.project, dim=-1) @ self.codes.T
        return found.argmax(-1).unflatten(0, pixels.shape[:2]).flatten(1)


class Flava(Objective):
    """FLAVA's objective; see the module."""

    views = 2

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__(towers)
        width = towers.width
        self.projections, self.codebook = Projections(width), Codebook(towers.image.config.slabs.channels)
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.joint = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.first, self.kinds = nn.Parameter(torch.randn(width) * 0.02), nn.Parameter(torch.randn(2, width) * 0.02)
        self.match = nn.Linear(width, 1)
        self.code, self.word = nn.Linear(width, CODES), nn.Linear(width, towers.mask_index)  # of both together
        self.code_alone, self.word_alone = nn.Linear(width, CODES), nn.Linear(width, towers.mask_index)

    def _joint(self, text: TextView, tokens: Tensor) -> Tensor:
        """A first token, the words and the cells after they attended to each other, [n 1+word+cell width]."""
        n = len(tokens)
        x = torch.cat([self.first.expand(n, 1, -1), text.tokens + self.kinds[0], tokens + self.kinds[1]], dim=1)
        padding = functional.pad(text.padding, (1, 0), value=False)
        padding = functional.pad(padding, (0, tokens.shape[1]), value=False)
        return self.joint(x, src_key_padding_mask=padding)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        crops, sentences = batch.meaning.shape
        words = batch.words.flatten(0, 1)
        text = self.towers.read(words)
        scores = self.projections.scale * self.projections.image(image.cells) @ self.projections.text(text.pooled).T
        own = own_sentences(crops, sentences, words.device)
        pairs = hard_pairs(scores.detach(), batch.relation, own, wrong_views=False)
        first = self._joint(picked(text, pairs.sentence), image.tokens[pairs.view])[:, 0]
        matching = functional.binary_cross_entropy_with_logits(self.match(first)[:, 0], pairs.match)
        # The second view has hidden blocks, and one true sentence a crop with hidden words.
        rows, columns = (size // BLOCK for size in batch.pixels.shape[-2:])
        hidden = torch.rand(crops, rows, columns, device=words.device) < HIDDEN
        spread = hidden.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
        view = self.towers.look(batch.pixels * ~spread[:, None, None], batch.offset_mm)
        lost = hidden.repeat_interleave(BLOCK // CELL, 1).repeat_interleave(BLOCK // CELL, 2)
        lost = lost[:, None].expand(-1, view.cells.shape[1], -1, -1).flatten(1)
        codes = self.codebook(batch.pixels)
        right = pairs.match > 0
        which = pairs.view[right]
        given, wanted = hide_words(words[pairs.sentence[right]], self.towers.mask_index)
        masked = self.towers.read(given)
        both = self._joint(masked, view.tokens[which])
        length = given.shape[1]
        found_words, found_cells = both[:, 1 : 1 + length], both[:, 1 + length :]
        return {
            "contrast": contrast_loss(scores, batch.relation),
            "matching": matching,
            "image": functional.cross_entropy(self.code_alone(view.tokens[lost]), codes[lost]),
            "text": _guessed(self.word_alone(masked.tokens), wanted),
            "both": functional.cross_entropy(self.code(found_cells[lost[which]]), codes[which][lost[which]])
            + _guessed(self.word(found_words), wanted),
        }

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        sentences = batch.words.shape[1]
        with torch.enable_grad():
            tokens = image.tokens.detach().repeat_interleave(sentences, 0).requires_grad_()
            first = self._joint(self.towers.read(batch.words.flatten(0, 1)), tokens)[:, 0]
            (gradient,) = torch.autograd.grad(self.match(first).sum(), tokens)
        cam = (gradient * tokens.detach()).sum(-1).relu()
        return self.on_grid(cam.unflatten(0, (-1, sentences)).unflatten(2, image.cells.shape[1:4]), image)

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        sentences = batch.words.shape[1]
        tokens = image.tokens.repeat_interleave(sentences, 0)
        first = self._joint(self.towers.read(batch.words.flatten(0, 1)), tokens)[:, 0]
        return self.match(first)[:, 0].unflatten(0, (-1, sentences))


def _guessed(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100)
