"""GLIP: every word against every region, with deep fusion (Li 2022, arXiv:2112.03857).

Words and cells look at each other layer by layer; the logit of a cell and a word is their product, learned by the focal
loss (Lin 2017, arXiv:1708.02002); every cell proposes a box, learned by GIoU, and says how central it lies in what it
boxes (Tian 2019, FCOS, arXiv:1904.01355). Cells stand for the detector's regions. The box of the best cell, drawn, is
the map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective, SharedTowers
from tips_med.training.objectives.boxes import drawn, generalized_iou

ALPHA, GAMMA, BOX_WEIGHT = 0.25, 2.0, 2.0
"""Of the focal loss, and the weight of GIoU, as in the paper."""

LAYERS, HEADS = 2, 4


class DeepFusionLayer(nn.Module):
    """Cells look at words while words look at cells, then each goes through layers of its own.

    Args:
        width: Embedding size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell_norm, self.word_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_words = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.to_cells = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.cell_mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.word_mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, cells: Tensor, words: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """[n cell width], [n word width], bool [n word] -> cells and words."""
        c, w = self.cell_norm(cells), self.word_norm(words)
        cells = cells + self.to_words(c, w, w, key_padding_mask=padding, need_weights=False)[0]
        words = words + self.to_cells(w, c, c, need_weights=False)[0]
        return cells + self.cell_mlp(cells), words + self.word_mlp(words)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of each logit, the same shape."""
    chance = logits.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = target * (1 - chance) + (1 - target) * chance
    return (target * ALPHA + (1 - target) * (1 - ALPHA)) * wrong**GAMMA * cross


class Glip(Objective):
    """GLIP's objective; see the module."""

    dense = True

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__(towers)
        width = towers.width
        self.layers = nn.ModuleList(DeepFusionLayer(width) for _ in range(LAYERS))
        self.of_word = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(-math.log(99.0)))  # a foreground of 1%, as the focal loss starts
        self.sides = nn.Linear(width, 4)
        self.centre = nn.Linear(width, 1)

    def _regions(self, batch: AlignmentBatch, image: ImageView) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits [n cell word], boxes [n cell 4], centrality [n cell] and padding [n word]; n is crop*sentence."""
        sentences = batch.words.shape[1]
        text = self.towers.read(batch.words.flatten(0, 1))
        cells, words = image.tokens.repeat_interleave(sentences, 0), text.tokens
        for layer in self.layers:
            cells, words = layer(cells, words, text.padding)
        scale = cells.shape[-1] ** -0.5
        logits = torch.einsum("ncd,nwd->ncw", cells, self.of_word(words)) * scale + self.bias
        x, y = _centres(image)
        left, up, right, down = (functional.softplus(self.sides(cells) - 2.0)).unbind(-1)
        boxes = torch.stack([x - left, y - up, x + right, y + down], dim=-1)
        return logits, boxes, self.centre(cells)[..., 0], text.padding

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        logits, boxes, central, padding = self._regions(batch, image)
        truth = batch.boxed().flatten(0, 1)
        x, y = _centres(image)
        right, centrality = _assigned(truth, x, y, (image.cells.shape[2], image.cells.shape[3]))
        real = (~padding)[:, None].float()
        target = right[..., None] * real
        count = right.sum().clamp(min=1)
        # Per word, as every region has as many rights as its sentence has words.
        words = (focal_loss(logits, target) * real).sum((1, 2)) / real.sum((1, 2))
        terms = {"words": words.sum() / count}
        n, c = right.nonzero().unbind(1)
        if not len(n):
            return {**terms, "overlap": boxes.sum() * 0, "centre": central.sum() * 0}
        overlap = 1 - generalized_iou(boxes[n, c], truth[n])
        weight = centrality[n, c]
        terms["overlap"] = BOX_WEIGHT * (overlap * weight).sum() / weight.sum().clamp(min=1e-6)
        terms["centre"] = functional.binary_cross_entropy_with_logits(central[n, c], weight)
        return terms

    def _scores(self, logits: Tensor, padding: Tensor) -> Tensor:
        """The mean logit of a cell over the words of its sentence, [n cell]."""
        real = (~padding)[:, None].float()
        return (logits * real).sum(2) / real.sum(2)

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        logits, boxes, central, padding = self._regions(batch, image)
        best = (self._scores(logits, padding).sigmoid() * central.sigmoid()).argmax(1)
        chosen = boxes[torch.arange(len(boxes)), best].unflatten(0, (-1, batch.words.shape[1]))
        return drawn(chosen, (image.fine.shape[2], image.fine.shape[3]))[:, :, None]

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        logits, _, _, padding = self._regions(batch, image)
        return self._scores(logits, padding).amax(1).unflatten(0, (-1, batch.words.shape[1]))


def _centres(image: ImageView) -> tuple[Tensor, Tensor]:
    """Where the centres of cells lie: x and y as shares of the crop, [cell] each."""
    rows, columns = image.cells.shape[2:4]
    y = (torch.arange(rows, device=image.cells.device) + 0.5) / rows
    x = (torch.arange(columns, device=image.cells.device) + 0.5) / columns
    return x.repeat(rows), y.repeat_interleave(columns)


def _assigned(truth: Tensor, x: Tensor, y: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which cells have to find a box, 1 or 0, and how central they lie in it, 0 to 1; [n cell] both.

    These are the cells in the middle half of it, and the one that holds its centre.
    """
    box = truth.nan_to_num(-1.0)
    centre, size = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    near_x = (x - centre[:, :1]).abs() <= (size[:, :1] / 4).clamp(min=0.5 / grid[1])
    near_y = (y - centre[:, 1:]).abs() <= (size[:, 1:] / 4).clamp(min=0.5 / grid[0])
    right = (near_x & near_y & truth[:, :1].isfinite()).float()
    left, over = x - box[:, :1], box[:, 2:3] - x
    up, down = y - box[:, 1:2], box[:, 3:] - y
    across = torch.minimum(left, over) / torch.maximum(left, over).clamp(min=1e-6)
    along = torch.minimum(up, down) / torch.maximum(up, down).clamp(min=1e-6)
    return right, (across.clamp(0, 1) * along.clamp(0, 1)).sqrt()
