"""The two small interfaces that every pair of towers stands behind, and what an image tower gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tips_med.shapes import Affine, Fine, Patches, Pooled, Tokens
from tips_med.slabs import SlabSpec, SlabStack

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What an image tower knows of a scan before any question is asked.

    Attributes:
        patches: One embedding a patch, [slab row col embedding], to be matched with query tokens.
        lps_from_patch: Maps (slab, row, col, 1), patch centres, to LPS in mm.
        fine: Features on a grid finer than a patch, [slab y x feature], for edges that follow the voxels; None for
            towers that have only patches.
        lps_from_fine: Likewise for ``fine``.
    """

    patches: Patches
    lps_from_patch: Affine
    fine: Fine | None = None
    lps_from_fine: Affine | None = None


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """What a text tower makes of a phrase.

    Attributes:
        tokens: One embedding a token, [token embedding].
        pooled: The phrase as a whole, [1 embedding].
        words: The token strings, for captions; same length as ``tokens``.
    """

    tokens: Tokens
    pooled: Pooled
    words: tuple[str, ...]


class ImageTower(ABC):
    """Turns slabs into embeddings that can be matched with words."""

    name: str
    """Architecture and version, stored with every study so that text and image are never of different models."""

    slab_spec: SlabSpec
    """The slabs that this tower was made for."""

    modalities: tuple[str, ...]
    """DICOM modality codes that this tower was trained on; empty when it takes any."""

    @abstractmethod
    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        """Encodes all slabs of one scan, on the device that the tower is on; the result is on the CPU."""


class TextTower(ABC):
    """Turns a phrase into embeddings that can be matched with patches."""

    name: str

    @abstractmethod
    def embed(self, phrases: Sequence[str]) -> list[TextFeatures]:
        """Embeds phrases; each is lowercase text in which every word is known to the query's lexicon."""
