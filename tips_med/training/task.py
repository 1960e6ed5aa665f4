"""Dense alignment as a LightningModule."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor

from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact import CompactConfig, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.training.losses import map_loss, patch_loss, presence_loss
from tips_med.training.optimizer import OptimizerConfig, adamw_with_cosine
from tips_med.training.painted import PaintedBatch


class AlignmentTask(lightning.LightningModule):
    """The compact towers and their head, trained on scenes and questions.

    Args:
        image: Sizes of the image tower.
        text: Sizes and words of the text tower.
        config: Steps, learning rate and weights of the losses.
    """

    def __init__(self, image: CompactConfig, text: CompactTextConfig, config: OptimizerConfig) -> None:
        super().__init__()
        self.image = CompactNet(image).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.text = CompactTextNet(text)
        self.head = AlignmentHead(text.width, image.patch_width, image.fine_width)
        self.config = config

    def training_step(self, batch: PaintedBatch, _: int) -> Tensor:
        """One loss over all questions of all scenes."""
        scenes, words = batch.word.shape
        questions = len(batch.phrases) // scenes
        patches, fine = self.image(batch.pixels, batch.offset_mm)
        tokens, pooled = self.text(self.text.indices(batch.phrases).to(self.device))
        scene = torch.arange(scenes, device=self.device)[:, None]
        first = torch.arange(words, device=self.device)
        one_word = tokens.unflatten(0, (scenes, questions))[scene, first, batch.word]
        text = torch.cat([pooled.unflatten(0, (scenes, questions)), one_word], dim=1)
        target, known = batch.target.float().flatten(0, 1), batch.known.float().flatten(0, 1)
        logits = self.head.fine_scores(text, patches, fine).float().flatten(0, 1)
        coarse = self.head.patch_scores(text, patches).float().flatten(0, 1)
        dense, patch = map_loss(logits, target, known), patch_loss(coarse, target, known)
        # A word without a place of its own has nothing known and must not water the mean down.
        weight = torch.ones(scenes, questions + words, device=self.device)
        weight[:, questions:] = self.config.word_weight
        weight = weight.flatten() * (known.flatten(1).amax(1) > 0)
        total = weight.sum().clamp(min=1)
        of_phrases = [each.unflatten(0, (scenes, -1))[:, :questions].flatten(0, 1) for each in (logits, target, known)]
        presence = presence_loss(*of_phrases).mean()
        self.log("presence", presence)
        self.log("dense", (dense * weight).sum() / total, prog_bar=True)
        self.log("patch", (patch * weight).sum() / total, prog_bar=True)
        maps = ((dense + self.config.patch_weight * patch) * weight).sum() / total
        return maps + self.config.presence_weight * presence

    def configure_optimizers(self):  # noqa: D102 (Lightning's own signature)
        return adamw_with_cosine(self.parameters(), self.config)
