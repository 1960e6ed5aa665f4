"""The compact towers, learning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.compact import DEPTH, CompactImageTower, CompactNet
from tips_med.encoders.compact_text import CompactTextNet, CompactTextTower
from tips_med.encoders.tips.tuning import FineTuning
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel, model_of_net
from tips_med.model_files import save_model
from tips_med.net import GroundingNet
from tips_med.query import Lexicon
from tips_med.training.towers.base import TrainableTowers, Tuning

log = logging.getLogger(__name__)


class TrainableCompact(TrainableTowers):
    """Copies of a compact model's networks; see TrainableTowers.

    Args:
        image: Image tower.
        text: Text tower.
        head: Alignment head of the towers.
        vocabulary: Words of the phrases; words that the model lacks are added to it.
        tuning: Modes of the towers, ``full`` (the default) or ``freeze``.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.
        language: Lexicon that came with the model; see GroundingModel.

    Raises:
        ConfigError: For a way of fine-tuning that compact towers do not have.
    """

    def __init__(
        self,
        image: CompactImageTower,
        text: CompactTextTower,
        head: AlignmentHead,
        vocabulary: tuple[str, ...] = (),
        tuning: Tuning | None = None,
        checkpointing: bool = False,
        language: Lexicon | None = None,
    ) -> None:
        super().__init__()
        words = with_words(text.net, vocabulary)
        self.image = CompactNet(image.net.config)
        self.text = CompactTextNet(words.config)
        self.head = AlignmentHead(words.config.width, image.net.config.patch_width, image.net.config.fine_width)
        self.image.load_state_dict(image.net.state_dict())
        self.text.load_state_dict(words.state_dict())
        self.head.load_state_dict(head.state_dict())
        self.image.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.patch_width = image.net.config.patch_width
        tuning = tuning or Tuning()
        for net, how in ((self.image, tuning.image), (self.text, tuning.text)):
            how = how or FineTuning("full")
            if how.mode in ("lora", "adapter") or how.last_blocks is not None:
                raise ConfigError(
                    "compact towers have no LoRA and no blocks to choose",
                    expected="the mode 'adapter', 'full' or 'freeze'",
                    remedy="leave out --tuning, or fine-tune TIPS towers (--model tips:FOLDER)",
                )
            net.requires_grad_(how.mode == "full")
            checkpointing = checkpointing or how.checkpointing
        self.image.checkpointing = checkpointing
        whole = GroundingNet(image.net.config, words.config)
        whole.image, whole.text, whole.head = self.image, self.text, self.head
        self._whole, self._language = (whole,), language  # in a tuple, for its parts are registered already

    def encode_images(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        return self.image(pixels, offset_mm)

    def encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        return self.text(self.text.indices(phrases).to(self.head.bias.weight.device))

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """See TrainableTowers."""
        check_compact_shape(shape)

    def layers(self) -> Sequence[nn.Module]:
        """See TrainableTowers."""
        return [*self.image.levels, *self.image.attention]

    def model(self, card: ModelCard) -> GroundingModel:
        """See TrainableTowers."""
        return model_of_net(self._whole[0].to(self.head.bias.weight.device), card, "", self._language)

    def save(self, out: Path, card: ModelCard) -> Path:
        """See TrainableTowers."""
        path = out / "model.safetensors"
        save_model(path, self.image, self.text, self.head, card)
        return path


def check_compact_shape(shape: tuple[int, int, int]) -> None:
    """Refuses crops that compact networks cannot divide.

    Raises:
        ConfigError: ``crop-shape``.
    """
    if min(shape) < 1 or shape[1] % DEPTH or shape[2] % DEPTH:
        raise ConfigError(
            f"crops of {shape[1]} by {shape[2]} pixels in {shape[0]} slabs",
            expected=f"rows and columns that are multiples of {DEPTH}",
            remedy="set --data.shape, as in --data.shape '[16, 160, 160]'",
            code="crop-shape",
        )


def with_words(net: CompactTextNet, words: tuple[str, ...]) -> CompactTextNet:
    """The same text tower with more words; what it made of the old ones does not change.

    A new word starts as the mean of the old ones, which has no meaning yet but a usual length.
    """
    new = tuple(word for word in words if word not in net.index)
    if not new:
        return net
    larger = CompactTextNet(replace(net.config, vocabulary=(*net.config.vocabulary, *new)))
    state = net.state_dict()
    old = state["embedding.weight"]
    state["embedding.weight"] = torch.cat([old, old[1:].mean(0, keepdim=True).expand(len(new), -1)])
    larger.load_state_dict(state)
    log.info("%d words are new to the model: %s", len(new), ", ".join(new[:20]))
    return larger
