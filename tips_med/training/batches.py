"""Crops with their phrases, and how they are put together into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tips_med.slabs import SlabSpec, stack_channels
from tips_med.training.contrast import relations
from tips_med.training.signals import NOTHING_SAID, PhraseSignals, SignalBatch, collate_signals
from tips_med.training.studies import PhraseLabel


@dataclass(eq=False)
class PhraseBatch:
    """Crops with their phrases.

    Attributes:
        pixels: Window-scaled values, [crop slab channel y x].
        offset_mm: Offset of the first pixel from the middle of the body, (y, x) in mm, [crop 2].
        phrases: Phrases, crop after crop, equally many each; padded with the crop's last one.
        target: Share of each cell that the phrase names, 0 to 1, [crop phrase slab y x].
        known: 1 where the target counts, the same shape.
        presence: 1 (present) for weak pairs, NaN for all others, [crop phrase].
        word: Index of a word of every phrase that names its finding or structure, [crop phrase].
        alone: 1 where that word means all that the phrase means, so that the target is its own, [crop phrase].
        used: 1 for phrases, 0 for padding, [crop phrase].
        relation: Relation of each crop to each phrase of the batch, for contrast; [crop crop*phrase].
        teacher: Patches of the teacher, [crop slab row col embedding]; None without a teacher.
        taught: Mask of patches that the teacher encoded, [crop slab row col].
        signals: What reports say of the phrases beside that they are there; None where they say nothing.
    """

    pixels: Tensor
    offset_mm: Tensor
    phrases: list[str]
    target: Tensor
    known: Tensor
    presence: Tensor
    word: Tensor
    alone: Tensor
    used: Tensor
    relation: Tensor
    teacher: Tensor | None = None
    taught: Tensor | None = None
    signals: SignalBatch | None = None


@dataclass(frozen=True, eq=False)
class PhraseTarget:
    """One phrase of a crop; see PhraseBatch."""

    phrase: str
    target: np.ndarray
    known: np.ndarray
    presence: float
    word: int
    alone: bool
    signals: PhraseSignals = NOTHING_SAID


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a study, with its queries.

    Attributes:
        volume_hu: Hounsfield units, [slab y x].
        offset_mm: Offset of its first pixel from the middle of the body, (y, x) in mm.
        targets: Phrases with their targets, at least one.
        statements: All statements about its study.
        whole: Whether it holds the whole study.
        teacher: Patches of the teacher, and the mask of those it encoded; None without a teacher.
    """

    volume_hu: np.ndarray
    offset_mm: tuple[float, float]
    targets: list[PhraseTarget]
    statements: tuple[PhraseLabel, ...]
    whole: bool
    teacher: tuple[Tensor, Tensor] | None = None


def collate_crops(crops: Sequence[Crop], slabs: SlabSpec, questions: int) -> PhraseBatch:
    """Puts crops of one shape together; each has at least one phrase, and gets ``questions`` by repeating the last."""
    filled = [crop.targets + [crop.targets[-1]] * (questions - len(crop.targets)) for crop in crops]
    volumes = torch.stack([torch.from_numpy(np.ascontiguousarray(crop.volume_hu)) for crop in crops])
    taught = [crop.teacher for crop in crops if crop.teacher is not None]
    return PhraseBatch(
        pixels=stack_channels(volumes, slabs),
        offset_mm=torch.tensor([crop.offset_mm for crop in crops], dtype=torch.float32),
        phrases=[one.phrase for targets in filled for one in targets],
        target=torch.from_numpy(np.stack([np.stack([one.target for one in targets]) for targets in filled])),
        known=torch.from_numpy(np.stack([np.stack([one.known for one in targets]) for targets in filled])),
        presence=torch.tensor([[one.presence for one in targets] for targets in filled], dtype=torch.float32),
        word=torch.tensor([[one.word for one in targets] for targets in filled]),
        alone=torch.tensor([[float(one.alone) for one in targets] for targets in filled]),
        used=torch.tensor([[float(n < len(crop.targets)) for n in range(questions)] for crop in crops]),
        relation=relations(
            [(crop.statements, crop.whole) for crop in crops], [[one.phrase for one in targets] for targets in filled]
        ),
        teacher=torch.stack([patches for patches, _ in taught]) if taught else None,
        taught=torch.stack([inside for _, inside in taught]) if taught else None,
        signals=collate_signals(
            [[one.signals for one in targets] for targets in filled],
            (volumes.shape[1], volumes.shape[2], volumes.shape[3]),
            [crop.offset_mm[1] for crop in crops],
            slabs.spacing_mm,
        ),
    )
