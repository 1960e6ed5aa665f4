"""CLIP: whole images against whole sentences (Radford 2021, arXiv:2103.00020).

Symmetric InfoNCE of pooled embeddings with a learned temperature. A crop has several true sentences here, all right for
it, and sentences that are false of it, which stand among the wrong ones (as in NegCLIP; Yuksekgonul 2023,
arXiv:2210.01936). The pooled image is the mean of its projected cells, so that each cell has a score of its own
(Zhou 2022, MaskCLIP, arXiv:2112.01071): that is the map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.contrast import contrast_loss
from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective, SharedTowers

TEMPERATURE, COLDEST = 0.07, 0.01
"""Temperature to start from, and the lowest one, as in the paper."""


class Projections(nn.Module):
    """What brings both sides into one space, and the temperature.

    Args:
        width: Size of both sides' embeddings.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_image, self.of_text = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    @property
    def scale(self) -> Tensor:
        """One over the temperature."""
        return self.log_scale.clamp(max=math.log(1 / COLDEST)).exp()

    def image(self, cells: Tensor) -> Tensor:
        """Unit embedding of each crop, [crop ... width] -> [crop width]."""
        return functional.normalize(self.of_image(cells.flatten(1, -2).mean(1)), dim=-1)

    def text(self, pooled: Tensor) -> Tensor:
        """Unit embedding of each sentence, [... width]."""
        return functional.normalize(self.of_text(pooled), dim=-1)


class Clip(Objective):
    """CLIP's objective; see the module."""

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__(towers)
        self.projections = Projections(towers.width)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled.flatten(0, 1))
        scores = self.projections.scale * self.projections.image(image.cells) @ text.T
        return {"contrast": contrast_loss(scores, batch.relation)}

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled)
        cells = functional.normalize(self.projections.of_image(image.cells), dim=-1)
        return self.on_grid(torch.einsum("bqe,bsrce->bqsrc", text, cells), image)

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled)
        return self.projections.scale * torch.einsum("bqe,be->bq", text, self.projections.image(image.cells))
