"""TIPSv2-like: contrast of images and texts with distillation from a momentum tower (Cao 2026, arXiv:2604.12012).

Beside CLIP's contrast, the whole image (Caron 2021, DINO, arXiv:2104.14294) and each patch (Zhou 2022, iBOT,
arXiv:2111.07832) of a view with hidden blocks have to be told apart by prototypes as the momentum towers tell the whole
view apart; as TIPSv2 does, patches that are visible are distilled, too. The pooled image attends to its cells by one
learned query; the map is what each cell's *value* says for the text, without that attention's mixing.

What is not TIPSv2: convolutional towers, hidden blocks are air instead of a learned token, few prototypes, no further
crops, and one text a crop is not a caption of two kinds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.contrast import contrast_loss
from tips_med.training.objectives.base import AlignmentBatch, ImageView, Momentum, Objective, Scaling, SharedTowers
from tips_med.training.objectives.clip import Projections

MOMENTUM, STUDENT_T, TEACHER_T, CENTRE = 0.996, 0.1, 0.07, 0.9
"""Momentum (DINO's), temperatures and momentum of the centre, as in the papers."""

PROTOTYPES, BLOCK, HIDDEN = 256, 16, 0.5
"""Prototypes, pixels along an edge of a hidden block (the deepest token), and the share of blocks that are hidden."""


class ValuePool(nn.Module):
    """One learned query attends to cells.

    Args:
        width: Embedding size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.key, self.value, self.out = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[crop cell width] -> [crop width]."""
        weight = (self.key(tokens) @ self.query * tokens.shape[-1] ** -0.5).softmax(1)
        return self.out((weight[..., None] * self.value(tokens)).sum(1))

    def cells(self, cells: Tensor) -> Tensor:
        """What each cell would be pooled to, were it alone: its value, projected; the same shape."""
        return self.out(self.value(cells))


class Prototypes(nn.Module):
    """Cosines of an embedding with learned prototypes, after two layers, as DINO's head.

    Args:
        width: Embedding size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, width))

    def forward(self, x: Tensor) -> Tensor:
        """[... width] -> [... prototype]."""
        return functional.normalize(self.layers(x), dim=-1) @ functional.normalize(self.prototypes, dim=-1).T


class _Student(nn.Module):
    """All that has a momentum copy."""

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__()
        width = towers.width
        self.towers, self.pool = towers, ValuePool(width)
        self.of_image, self.of_patch = Prototypes(width), Prototypes(width)

    def prototypes(self, image: ImageView) -> tuple[Tensor, Tensor]:
        """Logits of prototypes, for crops [crop prototype] and for cells [crop cell prototype]."""
        return self.of_image(self.pool(image.tokens)), self.of_patch(image.tokens)


def hide_blocks(pixels: Tensor) -> Tensor:
    """Crops in which blocks are hidden, as air: [crop slab channel y x] -> the same."""
    crops, (rows, columns) = len(pixels), pixels.shape[-2:]
    kept = torch.rand(crops, 1, 1, rows // BLOCK, columns // BLOCK, device=pixels.device) >= HIDDEN
    return pixels * kept.repeat_interleave(BLOCK, -1).repeat_interleave(BLOCK, -2)


class Tips(Objective):
    """The TIPSv2-like objective; see the module.

    Args:
        towers: Towers, trained along.
        scaling: How the papers' constants are brought to this training.
    """

    views = 2

    def __init__(self, towers: SharedTowers, scaling: Scaling) -> None:
        super().__init__(towers)
        self.student, self.projections = _Student(towers), Projections(towers.width)
        self.teacher = Momentum(self.student, scaling.half_life(MOMENTUM))
        self.register_buffer("image_centre", torch.zeros(PROTOTYPES))
        self.register_buffer("patch_centre", torch.zeros(PROTOTYPES))
        self.image_centre: Tensor
        self.patch_centre: Tensor

    def after_step(self) -> None:
        """See Objective."""
        self.teacher.follow(self.student)

    def _pooled(self, image: ImageView) -> Tensor:
        return functional.normalize(self.projections.of_image(self.student.pool(image.tokens)), dim=-1)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled.flatten(0, 1))
        scores = self.projections.scale * self._pooled(image) @ text.T
        teacher: _Student = self.teacher.copy  # type: ignore[assignment]
        own = self.student.prototypes(self.towers.look(hide_blocks(batch.pixels), batch.offset_mm))
        with torch.no_grad():
            theirs = teacher.prototypes(teacher.towers.look(batch.pixels, batch.offset_mm))
            centres = self.image_centre, self.patch_centre
            if not self.image_centre.any():  # the first batch
                for centre, logits in zip(centres, theirs):
                    centre.copy_(logits.flatten(0, -2).mean(0))
            wanted = [((logits - centre) / TEACHER_T).softmax(-1) for logits, centre in zip(theirs, centres)]
            for centre, logits in zip(centres, theirs):
                centre.lerp_(logits.flatten(0, -2).mean(0).float(), 1 - CENTRE)
        losses = [-(true * (logits / STUDENT_T).log_softmax(-1)).sum(-1).mean() for true, logits in zip(wanted, own)]
        return {"contrast": contrast_loss(scores, batch.relation), "image": losses[0], "patch": losses[1]}

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled)
        values = functional.normalize(self.projections.of_image(self.student.pool.cells(image.cells)), dim=-1)
        return self.on_grid(torch.einsum("bqe,bsrce->bqsrc", text, values), image)

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        text = self.projections.text(self.towers.read(batch.words).pooled)
        return self.projections.scale * torch.einsum("bqe,be->bq", text, self._pooled(image))
