"""TIPS towers, learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.tips import FineTuning, TipsEncoder, TipsTextTower, TipsTowers, merge_lora, prepare_finetuning
from tips_med.encoders.tips.sliding_windows import fitted_grid
from tips_med.encoders.tips.tuning import blocks_of
from tips_med.errors import ConfigError
from tips_med.loading import save_tuned_tips
from tips_med.model import GroundingModel
from tips_med.training.towers.base import TrainableTowers, Tuning


class TrainableTips(TrainableTowers):
    """A TIPS model's own towers, which learn in place, and its head; see TrainableTowers.

    A new model's head gives TIPS's own scores, so training starts from the zero-shot scores.

    Args:
        image: Image tower.
        text: Text tower.
        head: Alignment head of the towers.
        tuning: Modes of the towers; by default LoRA of the image tower and a frozen text tower.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.

    Raises:
        ConfigError: There are too few blocks.
        MissingExtraError: LoRA without peft.
    """

    def __init__(
        self,
        image: TipsEncoder,
        text: TipsTextTower,
        head: AlignmentHead,
        tuning: Tuning | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower = image, text
        tuning = tuning or Tuning()
        for tower, how in (
            (image, tuning.image or FineTuning("lora")),
            (text, tuning.text or FineTuning("freeze")),
        ):
            prepare_finetuning(tower, replace(how, checkpointing=how.checkpointing or checkpointing))
        # The towers' networks are modules of this one, so that they are moved, saved and averaged with it.
        self.image: nn.Module = image.net
        self.text: nn.Module = text.net
        self.head, self.patch_width = head, image.width
        self.head.requires_grad_(True)
        self.head.to_fine.requires_grad_(False)  # TIPS has no fine features
        self._leave_out_unused()
        self.train()

    def _leave_out_unused(self) -> None:
        """Parts that no patch or phrase depends on: DDP would wait for their gradients."""
        vision: Any = self.image_tower.net
        unused: list[Any] = [vision.embeddings.mask_token]
        if self.image_tower.mode == "value":  # the last block passes values on without mixing them
            last = vision.encoder.layer[-1].attention
            unused += [last.q_proj, last.k_proj]
        for part in unused:
            part.requires_grad_(False)

    def encode_images(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """See TrainableTowers. Slices are resized, and covered by windows, as in a query."""
        del offset_mm
        patches = self.image_tower.embed_slabs(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        return patches, pixels.new_zeros(*pixels.shape[:2], *pixels.shape[3:], 1)

    def encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        words, pooled = zip(*self.text_tower.features(phrases))
        return nn.utils.rnn.pad_sequence(list(words), batch_first=True), torch.cat(list(pooled))

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """See TrainableTowers."""
        patch, side = self.image_tower.patch, self.image_tower.side
        rows, columns = fitted_grid(shape[1], shape[2], side, patch)
        # One number of pixels along both edges of a patch, and a whole one.
        if min(shape) < 1 or shape[1] % rows or shape[2] % columns or shape[1] // rows != shape[2] // columns:
            raise ConfigError(
                f"crops of {shape[1]} by {shape[2]} pixels, which TIPS would see as {rows} by {columns} patches",
                expected="patches of a whole number of pixels",
                remedy=f"set --data.shape, as in --data.shape '[4, {side * patch}, {side * patch}]'",
                code="crop-shape",
            )

    def layers(self) -> Sequence[nn.Module]:
        """See TrainableTowers."""
        return [*blocks_of(self.image_tower.net), *blocks_of(self.text_tower.net)]

    def model(self, card: ModelCard) -> GroundingModel:
        """See TrainableTowers."""
        return GroundingModel(self.image_tower, self.text_tower, self.head, card, "")

    def save(self, out: Path, card: ModelCard) -> Path:
        """See TrainableTowers. What LoRA learnt is added to the weights; the towers are plain ones afterwards."""
        merge_lora(self.image_tower)
        merge_lora(self.text_tower)
        towers = TipsTowers(self.image_tower, self.text_tower, self.text_tower.temperature, weights_sha256="")
        return save_tuned_tips(out / "model", towers, self.head, card)
