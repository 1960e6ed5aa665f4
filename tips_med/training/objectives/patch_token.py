"""Ours: every patch against every phrase, by a sigmoid.

Dense, each cell of a map is a yes or no against the outline; weak, the highest cells of the map are a yes or no against
the sentence, and a sentence's map has to be higher in its own crop than in the crops that it is false of. The losses
are those of ``tips_med.training``: what is measured here is what ``train`` does. Two ideas of other objectives can be
added: GLIP's focal loss, for patch scores; and ALBEF's hard negatives, for the weak losses.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.alignment import AlignmentHead
from tips_med.training.contrast import contrast_loss, pooled_scores
from tips_med.training.losses import map_loss, patch_loss, presence_loss
from tips_med.training.matching import patch_to_text_loss, text_to_patch_loss, weak_loss
from tips_med.training.objectives.base import AlignmentBatch, ImageView, Objective, SharedTowers
from tips_med.training.objectives.boxes import filled
from tips_med.training.objectives.fusion import hard_pairs, own_sentences
from tips_med.training.objectives.glip import focal_loss

Label = Literal["masks", "boxes", "sentences"]

PATCH, PRESENCE, MATCH, WEAK, CONTRAST = 0.5, 0.15, 0.2, 0.3, 0.1
"""Weights of the losses, as in ``OptimizerConfig`` and ``FinetuneConfig``."""

POOL_SHARE = 0.004
"""Share of a map's highest cells that a sentence is judged by: a finding fills about this much of one slab."""


class PatchToken(Objective):
    """Patch-token sigmoid.

    Args:
        towers: Towers, trained along.
        label: What is learned from: masks; boxes, filled, as if they were masks; or sentences alone.
        focal: Whether patch scores are learned by the focal loss instead of cross-entropy.
        hard: Whether sentences of other crops that look right and are false count as false ones of the crop's own.
        fine: Whether maps have the resolution of the fine features; otherwise that of cells, which is what objectives
            with visual tokens have.
    """

    def __init__(
        self,
        towers: SharedTowers,
        label: Label = "masks",
        *,
        focal: bool = False,
        hard: bool = False,
        fine: bool = True,
    ) -> None:
        super().__init__(towers)
        self.label: Label = label
        self.focal, self.hard, self.fine = focal, hard, fine
        self.dense = label != "sentences"
        self.head = AlignmentHead(towers.width, towers.width, towers.image.config.fine_width)
        self.head.to_fine.requires_grad_(fine)

    def logits(self, text: Tensor, image: ImageView) -> Tensor:
        """Maps of pooled phrases [crop sentence width] on the grid of pixels, [crop sentence slab y x]."""
        if self.fine:
            return self.head.fine_scores(text, image.cells, image.fine)
        return self.on_grid(self.head.patch_scores(text, image.cells), image)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        text = self.towers.read(batch.words).pooled
        logits = self.logits(text, image)
        if not self.dense:
            return self._weak(batch, image, text, logits)
        coarse = self.head.patch_scores(text, image.cells)
        target, known = batch.outlined()
        if self.label == "boxes":
            target = filled(batch.boxed(), (target.shape[-2], target.shape[-1]))[:, :, None].expand_as(target)
        flat, used = (target.flatten(0, 1), known.flatten(0, 1)), torch.ones_like(batch.present)
        return {
            "dense": map_loss(logits.flatten(0, 1), *flat).mean(),
            "patch": self._focal(coarse, target, known)
            if self.focal
            else PATCH * patch_loss(coarse.flatten(0, 1), *flat).mean(),
            "presence": PRESENCE * presence_loss(logits.flatten(0, 1), *flat).mean(),
            "match": MATCH * patch_to_text_loss(coarse, target, known, used),
            "find": MATCH * text_to_patch_loss(coarse, target, known, used),
        }

    def _weak(self, batch: AlignmentBatch, image: ImageView, text: Tensor, logits: Tensor) -> dict[str, Tensor]:
        everyone = text.flatten(0, 1).expand(len(text), -1, -1)
        scores = pooled_scores(self.head.patch_scores(everyone, image.cells))
        terms = {
            "weak": WEAK * weak_loss(logits, batch.present, torch.ones_like(batch.present), POOL_SHARE),
            "contrast": CONTRAST * contrast_loss(scores, batch.relation),
        }
        if self.hard:
            crops, sentences = batch.meaning.shape
            pairs = hard_pairs(scores, batch.relation, own_sentences(crops, sentences, text.device))
            view, sentence = (one[pairs.match == 0] for one in (pairs.view, pairs.sentence))
            chosen = ImageView(image.patches[view], image.fine[view], image.cells[view])
            false = self.logits(text.flatten(0, 1)[sentence, None], chosen)
            nowhere = torch.zeros(len(view), 1, device=text.device)
            terms["hard"] = WEAK * weak_loss(false, nowhere, torch.ones_like(nowhere), POOL_SHARE)
        return terms

    def _focal(self, coarse: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """The focal loss of cells that are covered by a half or more, over their number, as GLIP takes it."""
        size = target.shape[-1] // coarse.shape[-1]
        cover, seen = (functional.avg_pool2d(one.flatten(0, 1), size) for one in (target, known))
        right = (cover >= 0.5).float()
        cells = focal_loss(coarse.flatten(0, 1), right) * (seen > 0.5)
        return PATCH * cells.sum() / right.sum().clamp(min=1)

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        return self.logits(self.towers.read(batch.words).pooled, image).sigmoid()

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """The surest place of the map, much as ``tips_med.grounding.presence`` takes it."""
        logits = self.logits(self.towers.read(batch.words).pooled, image)
        sure = functional.avg_pool3d(logits.flatten(0, 1)[:, None], (min(3, logits.shape[2]), 4, 4), (1, 2, 2))
        return sure.flatten(1).amax(1).unflatten(0, logits.shape[:2])
