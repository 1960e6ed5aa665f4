"""The two small interfaces of every pair of towers, and the output of an image tower."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tips_med.shapes import Affine, Fine, FineStep, Patches, Pooled, QuantizedFine, Tokens
from tips_med.slabs import SlabSpec, SlabStack

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Output of an image tower for one scan, before any query.

    Attributes:
        patches: Patch embeddings, [slab row col embedding], to be matched with query tokens.
        lps_from_patch: Maps (slab, row, col, 1), patch centres, to LPS in mm.
        fine: Features on a grid finer than a patch, [slab y x feature], for edges that follow the voxels; None for
            towers that have only patches. May be int8, see ``fine_step``.
        lps_from_fine: Maps (slab, y, x, 1), centres of fine cells, to LPS in mm; None without ``fine``.
        fine_step: Where ``fine`` is int8, the value of one step of each feature in each slab, [slab feature].
        adapter: Number of the adapter whose decoder made them, from 1; 0 for the tower's own. Only text embeddings of
            the same number are scored against them.
    """

    patches: Patches
    lps_from_patch: Affine
    fine: Fine | QuantizedFine | None = None
    lps_from_fine: Affine | None = None
    fine_step: FineStep | None = None
    adapter: int = 0


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Output of a text tower for one phrase.

    Attributes:
        tokens: Token embeddings, [token embedding].
        pooled: Embedding of the whole phrase, [1 embedding].
        words: Token strings, for captions; same length as ``tokens``.
        adapter: Number of the adapter whose patches the phrase is matched with, from 1; 0 for the model's first ones.
    """

    tokens: Tokens
    pooled: Pooled
    words: tuple[str, ...]
    adapter: int = 0


def quantized(fine: Tensor) -> tuple[QuantizedFine, FineStep]:
    """Fine features as int8, a quarter of their size in float32, with the value of one step.

    Each feature of each slab has its own range, so that rounding adds half a step, a 254th of it, at most.

    Args:
        fine: Features, [slab y x feature].

    Returns:
        The features in steps, int8 of the same shape, and the value of one step, float32 [slab feature].
    """
    step = fine.float().abs().amax(dim=(1, 2)).clamp_min(1e-6) / 127
    return (fine / step[:, None, None].to(fine.dtype)).round_().clamp_(-127, 127).to(torch.int8), step


class ImageTower(ABC):
    """Turns slabs into embeddings that can be matched with words."""

    name: str
    """Architecture and version, stored with every study so that text and image always come from one model."""

    slab_spec: SlabSpec
    """The slabs that this tower was made for."""

    modalities: tuple[str, ...]
    """DICOM modality codes that this tower was trained on; empty when it takes any."""

    @abstractmethod
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """Encodes all slabs of one scan, on the device that the tower is on; the result is on the CPU.

        The features have to be new arrays: the caller clears in place what lies outside the body.
        """

    def encode_several(
        self, slabs: SlabStack, numbers: Sequence[int], progress: Progress | None = None
    ) -> dict[int, ImageFeatures]:
        """``encode`` by some of the tower's decoders, whose common work is done once; a tower with adapters has more.

        Args:
            slabs: As ``encode`` takes them.
            numbers: Numbers of decoders, one or more: 0 for the tower's own, from 1 for those of adapters.
            progress: As ``encode`` takes it.

        Returns:
            Features by number; ``encode`` gives those of number 0.
        """
        assert tuple(numbers) == (0,), "this tower has no adapters"
        return {0: self.encode(slabs, progress)}


class TextTower(ABC):
    """Turns a phrase into embeddings that can be matched with patches."""

    name: str

    @abstractmethod
    def embed(self, phrases: Sequence[str]) -> list[TextFeatures]:
        """Embeds phrases; each is lowercase text in which every word is known to the query's lexicon."""
