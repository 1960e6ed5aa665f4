"""The one interface between training and the towers that learn; see also encoders/base.py, for queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tips_med.alignment import AlignmentHead
from tips_med.card import ModelCard
from tips_med.encoders.tips.tuning import FineTuning
from tips_med.model import GroundingModel


@dataclass(frozen=True)
class Tuning:
    """What of a model learns beside its head, which always does.

    Attributes:
        image: Mode of the image tower: ``adapter`` (compact models only: see ``TrainableAdapter``), ``lora`` (TIPS
            only), ``full`` or ``freeze``; the towers' own choice when None.
        text: Mode of the text tower, with the same values but for ``adapter``.
    """

    image: FineTuning | None = None
    text: FineTuning | None = None


class TrainableTowers(nn.Module, ABC):
    """An image tower, a text tower and their head, with gradients.

    Every parameter that requires a gradient gets one in each step, so that DDP needs no search for unused ones.

    Attributes:
        head: Alignment head, which scores text against patches and fine features.
        patch_width: Size of a patch embedding.
        keeps: Whether all that is not taught stays as it was.
    """

    head: AlignmentHead
    patch_width: int
    keeps: bool = False

    @abstractmethod
    def encode_images(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """What the image tower makes of crops.

        Args:
            pixels: Window-scaled values, [crop slab channel y x], cut by the tower's own SlabSpec.
            offset_mm: Position of the first pixel relative to the middle of the body, (y, x) in mm, [crop 2].

        Returns:
            Patches [crop slab row col embedding] and fine features [crop slab y x feature]; these are 0 of towers
            that have only patches, so that a map is then the patch score, interpolated.
        """

    @abstractmethod
    def encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the text tower makes of phrases: words [phrase word embedding], padded, and phrases [phrase embedding].

        Both are what ``TextTower.embed`` gives of the same phrases.
        """

    @abstractmethod
    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Refuses crops (slabs, rows, columns) that the image tower cannot divide into patches.

        Raises:
            ConfigError: The tower cannot take that shape; the message has shapes that it can.
        """

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The blocks that FSDP shards one by one."""

    @abstractmethod
    def model(self, card: ModelCard) -> GroundingModel:
        """The model that these towers are now, to answer queries with; it shares their networks.

        Args:
            card: Card of the model.
        """

    @abstractmethod
    def save(self, out: Path, card: ModelCard) -> Path:
        """Writes the model into a run's folder, whole or not at all, for ``--model``; training ends with it.

        Returns:
            The written path.

        Raises:
            OutputError: It cannot be written there.
        """
