"""ALBEF: align before fuse (Li 2021, arXiv:2107.07651).

Contrast of whole crops and sentences, with momentum towers, a queue of their embeddings and their soft answers as
further targets; matching with hard negatives; and hidden words. Where a sentence is, is read off the matching head by
Grad-CAM in the first layer in which words look at cells (of two: the paper takes the third of six).

The queue keeps what each entry means and what is true of it, so that what is right for a sentence is never counted as
wrong: the paper leaves that to the soft targets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.training.contrast import contrast_loss
from tips_med.training.objectives.base import AlignmentBatch, ImageView, Momentum, Objective, Scaling, SharedTowers
from tips_med.training.objectives.clip import Projections
from tips_med.training.objectives.fusion import Fusion, grad_cam, hard_pairs, hide_words, own_sentences, picked

MOMENTUM, DISTIL, QUEUE_BATCHES, RAMP = 0.995, 0.4, 128.0, 0.1
"""Momentum, weight of soft targets and length of the queue (65,536 in batches of 512) as in the paper, and the share of
the training over which that weight rises: the paper's is its first epoch of 30, which is too short here to matter."""

CAM_LAYER = 0


class _Model(nn.Module):
    """All that has a momentum copy."""

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__()
        self.towers, self.projections = towers, Projections(towers.width)
        self.fusion, self.word = Fusion(towers.width), nn.Linear(towers.width, towers.mask_index)


class Albef(Objective):
    """ALBEF's objective; see the module.

    Args:
        towers: Towers, trained along.
        scaling: How the paper's constants are brought to this training.
    """

    def __init__(self, towers: SharedTowers, scaling: Scaling) -> None:
        super().__init__(towers)
        self.model = _Model(towers)
        self.match = nn.Linear(towers.width, 1)
        self.momentum = Momentum(self.model, scaling.half_life(MOMENTUM))
        self.length, self.distil = scaling.batches(QUEUE_BATCHES), 0.0
        self.queue: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def at(self, progress: float) -> None:
        """See Objective."""
        self.distil = DISTIL * min(1.0, progress / RAMP)

    def after_step(self) -> None:
        """See Objective."""
        self.momentum.follow(self.model)

    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """See Objective."""
        crops, sentences = batch.meaning.shape
        words, meaning = batch.words.flatten(0, 1), batch.meaning.flatten()
        text = self.towers.read(words)
        projections = self.model.projections
        of_image, of_text = projections.image(image.cells), projections.text(text.pooled)
        slow: _Model = self.momentum.copy  # type: ignore[assignment]
        with torch.no_grad():
            slow_view = slow.towers.look(batch.pixels, batch.offset_mm)
            slow_image = slow.projections.image(slow_view.cells)
            slow_text = slow.projections.text(slow.towers.read(words).pooled)
        entries = [(slow_image, slow_text, batch.truth, meaning), *self.queue]
        images, texts, truth, meanings = (torch.cat(column) for column in zip(*entries))
        scale = projections.scale
        to_text, to_image = scale * of_image @ texts.T, scale * images @ of_text.T
        with torch.no_grad():
            slow_scale = slow.projections.scale
            soft_text = (slow_scale * slow_image @ texts.T).softmax(1)
            soft_image = (slow_scale * images @ slow_text.T).softmax(0)
        hard = (contrast_loss(to_text, batch.truth[:, meanings]) + contrast_loss(to_image, truth[:, meaning])) / 2
        soft = (
            -(soft_text * to_text.log_softmax(1)).sum(1).mean() - (soft_image * to_image.log_softmax(0)).sum(0).mean()
        )
        self.queue = [(slow_image, slow_text, batch.truth, meaning), *self.queue][: self.length]
        scores, own = to_text[:, : len(words)].detach(), own_sentences(crops, sentences, words.device)
        pairs = hard_pairs(scores, batch.relation, own)
        first = self.model.fusion(picked(text, pairs.sentence), image.tokens[pairs.view])[0][:, 0]
        matching = functional.binary_cross_entropy_with_logits(self.match(first)[:, 0], pairs.match)
        return {
            "contrast": (1 - self.distil) * hard + self.distil * soft / 2,
            "matching": matching,
            "words": self._guess(words, image, slow, slow_view, batch, own),
        }

    def _guess(
        self, words: Tensor, image: ImageView, slow: _Model, slow_view: ImageView, batch: AlignmentBatch, own: Tensor
    ) -> Tensor:
        """Hidden words of one true sentence a crop, by what they were and by what the momentum model takes them for."""
        chosen = hard_pairs(own.float(), batch.relation, own)
        keep = chosen.match > 0
        view, some = chosen.view[keep], words[chosen.sentence[keep]]
        given, wanted = hide_words(some, self.towers.mask_index)
        found = self.model.word(self.model.fusion(self.towers.read(given), image.tokens[view])[0][:, 1:])
        with torch.no_grad():
            tokens = slow_view.tokens[view]
            believed = slow.word(slow.fusion(slow.towers.read(given), tokens)[0][:, 1:]).softmax(-1)
        hidden = wanted >= 0
        hard = functional.cross_entropy(found[hidden], wanted[hidden])
        soft = -(believed[hidden] * found[hidden].log_softmax(-1)).sum(-1).mean()
        return (1 - self.distil) * hard + self.distil * soft

    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        sentences = batch.words.shape[1]
        with torch.enable_grad():
            text = self.towers.read(batch.words.flatten(0, 1))
            tokens = image.tokens.detach().repeat_interleave(sentences, 0)
            out, maps = self.model.fusion(text, tokens)
            cam = grad_cam(self.match(out[:, 0])[:, 0], maps[CAM_LAYER], text.padding)
        grid = image.cells.shape[1:4]
        return self.on_grid(cam.unflatten(0, (-1, sentences)).unflatten(2, grid), image)

    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """See Objective."""
        text, sentences = self.towers.read(batch.words.flatten(0, 1)), batch.words.shape[1]
        first = self.model.fusion(text, image.tokens.repeat_interleave(sentences, 0))[0][:, 0]
        return self.match(first)[:, 0].unflatten(0, (-1, sentences))
