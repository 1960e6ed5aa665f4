"""What every objective is given, and what it has to give: the terms of a loss, a map, a score of presence.

All objectives stand on the same towers (``SharedTowers``) and are handed their features, so that nobody's image is
encoded more often than another's without being counted.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from tips_med.encoders.compact import CompactConfig, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.errors import ConfigError

MASK_WORD = "[mask]"
"""The word that stands for a hidden one."""

CELL = 4
"""Pixels along an edge of a cell: the visual token of every objective."""


@dataclass(frozen=True, eq=False)
class AlignmentBatch:
    """Crops with equally many sentences each.

    Attributes:
        pixels: Window-scaled values, [crop slab channel y x].
        offset_mm: Offset of the first pixel from the middle of the body, (y, x) in mm, [crop 2].
        words: Indices of words, 0 for padding, [crop sentence word].
        meaning: What each sentence means, as a column of ``truth``, [crop sentence].
        truth: Whether each meaning is true of each crop: 1, -1 for false, 0 where nobody knows; [crop meaning].
        target: Share of each cell that the sentence names, 0 to 1, [crop sentence slab y x]; None in the weak track.
        known: 1 where the target counts, the same shape; None in the weak track.
        box: Box of what the sentence names, (x0, y0, x1, y1) as shares of the crop's width and height, NaN where it
            names nothing, [crop sentence 4]; None in the weak track.
    """

    pixels: Tensor
    offset_mm: Tensor
    words: Tensor
    meaning: Tensor
    truth: Tensor
    target: Tensor | None = None
    known: Tensor | None = None
    box: Tensor | None = None

    @property
    def relation(self) -> Tensor:
        """1 where a sentence is true of a crop, -1 where it is false, 0 where nobody knows, [crop crop*sentence]."""
        return self.truth[:, self.meaning.flatten()]

    @property
    def present(self) -> Tensor:
        """1 where a sentence is true of its own crop, else 0, [crop sentence]."""
        return (self.truth.gather(1, self.meaning) > 0).float()

    def weak(self) -> AlignmentBatch:
        """The same without masks and boxes."""
        return replace(self, target=None, known=None, box=None)

    def outlined(self) -> tuple[Tensor, Tensor]:
        """Targets and where they are known.

        Raises:
            ConfigError: This is a batch of the weak track.
        """
        if self.target is None or self.known is None:
            raise ConfigError("no masks in this batch", expected="the dense track", code="objective")
        return self.target, self.known

    def boxed(self) -> Tensor:
        """Boxes.

        Raises:
            ConfigError: This is a batch of the weak track.
        """
        if self.box is None:
            raise ConfigError("no boxes in this batch", expected="the dense track", code="objective")
        return self.box


@dataclass(frozen=True, eq=False)
class ImageView:
    """Features of crops.

    Attributes:
        patches: Patch embeddings, [crop slab row col width].
        fine: Fine features, [crop slab y x feature].
        cells: Visual tokens of ``CELL`` pixels, made of both, [crop slab row col width].
    """

    patches: Tensor
    fine: Tensor
    cells: Tensor

    @property
    def tokens(self) -> Tensor:
        """The cells in one row, [crop cell width]."""
        return self.cells.flatten(1, 3)


@dataclass(frozen=True, eq=False)
class TextView:
    """Features of sentences.

    Attributes:
        tokens: An embedding a word, [... word width].
        pooled: One a sentence, [... width].
        padding: Mask of padding, bool [... word].
    """

    tokens: Tensor
    pooled: Tensor
    padding: Tensor

    def flat(self) -> TextView:
        """All sentences in one row, [crop*sentence ...]."""
        return TextView(self.tokens.flatten(0, 1), self.pooled.flatten(0, 1), self.padding.flatten(0, 1))


class SharedTowers(nn.Module):
    """The image and the text tower that every objective starts from.

    Args:
        image: Sizes of the image tower.
        vocabulary: Words; ``MASK_WORD`` is added.
        layers: Number of layers of the text tower; its width is that of patches.

    Attributes:
        seen: Number of crops that have been encoded with a gradient so far.
    """

    def __init__(self, image: CompactConfig, vocabulary: tuple[str, ...], layers: int = 2) -> None:
        super().__init__()
        self.image = CompactNet(image)
        self.image.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.width = image.patch_width
        self.text = CompactTextNet(CompactTextConfig((*vocabulary, MASK_WORD), self.width, layers))
        self.from_patch, self.from_fine = nn.Linear(self.width, self.width), nn.Linear(image.fine_width, self.width)
        self.norm = nn.LayerNorm(self.width)
        self.seen = 0

    def look(self, pixels: Tensor, offset_mm: Tensor) -> ImageView:
        """Encodes crops, and counts them if a gradient flows."""
        if torch.is_grad_enabled():
            self.seen += len(pixels)
        patches, fine = self.image(pixels, offset_mm)
        near = functional.avg_pool2d(fine.flatten(0, 1).permute(0, 3, 1, 2), CELL).permute(0, 2, 3, 1)
        wide = self.from_patch(patches).flatten(0, 1).permute(0, 3, 1, 2)
        wide = functional.interpolate(wide, size=near.shape[1:3], mode="bilinear", align_corners=False)
        cells = self.norm(wide.permute(0, 2, 3, 1) + self.from_fine(near))
        return ImageView(patches, fine, cells.unflatten(0, patches.shape[:2]))

    def read(self, words: Tensor) -> TextView:
        """Encodes sentences, [... word]."""
        lead = words.shape[:-1]
        tokens, pooled = self.text(words.flatten(0, -2))
        return TextView(tokens.unflatten(0, lead), pooled.unflatten(0, lead), words == 0)

    @property
    def mask_index(self) -> int:
        """Index of ``MASK_WORD``."""
        return self.text.index[MASK_WORD]


class Objective(nn.Module, ABC):
    """A way to tie images to words: its losses, and how it says where and whether.

    Args:
        towers: Towers, trained along.

    Attributes:
        views: Number of image forwards with a gradient that ``loss`` takes a crop.
        dense: Whether ``loss`` learns from masks or boxes.
    """

    views = 1
    dense = False

    def __init__(self, towers: SharedTowers) -> None:
        super().__init__()
        self.towers = towers

    @abstractmethod
    def loss(self, batch: AlignmentBatch, image: ImageView) -> dict[str, Tensor]:
        """Weighted terms of the loss by name, scalars; their sum is what is learned.

        Args:
            batch: Crops with sentences.
            image: Features of its crops, with a gradient.
        """

    @abstractmethod
    def locate(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """A map of each sentence on the grid of pixels, of any scale, high where it is; [crop sentence slab y x]."""

    @abstractmethod
    def score(self, batch: AlignmentBatch, image: ImageView) -> Tensor:
        """A logit of whether each sentence is true of its crop, [crop sentence]."""

    def at(self, progress: float) -> None:
        """Called before each step with the share of the training that is done, 0 to 1."""

    @property
    def weights(self) -> int:
        """Number of trained weights: momentum copies are not counted."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def after_step(self) -> None:
        """Called after each step of the optimiser: momentum towers follow here."""

    def on_grid(self, maps: Tensor, image: ImageView) -> Tensor:
        """Maps of cells [crop sentence slab row col], interpolated to pixels [crop sentence slab y x]."""
        size = image.fine.shape[2:4]
        flat = functional.interpolate(maps.flatten(0, 2)[:, None], size=size, mode="bilinear", align_corners=False)
        return flat[:, 0].unflatten(0, maps.shape[:3])


class Momentum(nn.Module):
    """A copy of modules that follows them as an exponential moving average, and is never trained.

    Args:
        source: Module to follow.
        half_life: Number of steps after which half of the copy is new.
    """

    def __init__(self, source: nn.Module, half_life: float) -> None:
        super().__init__()
        self.copy = copy.deepcopy(source).requires_grad_(False)
        self.keep = 0.5 ** (1 / half_life)

    @torch.no_grad()
    def follow(self, source: nn.Module) -> None:
        """One step."""
        for own, new in zip(self.copy.parameters(), source.parameters()):
            own.lerp_(new, 1 - self.keep)


@dataclass(frozen=True)
class Scaling:
    """The one rule by which constants of papers are brought to a small training.

    Loss weights, temperatures, mask ratios and the like have no unit and are kept. What a paper counts in steps or
    batches (the half-life of a momentum tower, the length of a queue) is kept in steps or batches, but is a tenth of
    the training at most.

    Attributes:
        steps: Number of steps of the training.
    """

    steps: int

    def batches(self, of_paper: float) -> int:
        """A number of steps or batches, 1 or more."""
        return max(1, round(min(of_paper, self.steps / 10)))

    def half_life(self, momentum: float) -> float:
        """Half-life in steps of a paper's momentum (0.995 has 138), at least one step."""
        steps = torch.log(torch.tensor(0.5, dtype=torch.float64)) / torch.log(torch.tensor(momentum).double())
        return max(1.0, min(float(steps), self.steps / 10))
