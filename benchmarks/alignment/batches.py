"""Crops as batches of ``AlignmentBatch``, in the same order for every method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.alignment.data import MIDDLE, SPEC, Crop
from tips_med.slabs import stack_channels
from tips_med.training.objectives.base import AlignmentBatch


@dataclass(frozen=True)
class Words:
    """Words of the training sentences, by index from 1; other words are left out of a sentence.

    Attributes:
        vocabulary: The words.
    """

    vocabulary: tuple[str, ...]

    def indices(self, sentences: Sequence[str]) -> torch.Tensor:
        """Indices of words, padded to the longest, [sentence word]; at least one word each."""
        number = {word: n for n, word in enumerate(self.vocabulary, start=1)}
        rows = [torch.tensor([number[word] for word in one.split() if word in number]) for one in sentences]
        return torch.nn.utils.rnn.pad_sequence([row if len(row) else torch.ones(1) for row in rows], True).long()


def box_of(mask: np.ndarray) -> list[float]:
    """(x0, y0, x1, y1) of a mask [y x], as shares of its width and height; NaN for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [float("nan")] * 4
    height, width = mask.shape
    return [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]


def collate(crops: Sequence[Crop], words: Words) -> AlignmentBatch:
    """A batch of crops; their middle slab is what is asked about."""
    volume = torch.from_numpy(np.stack([one.volume_hu for one in crops]).astype(np.float32))
    count = len(crops[0].sentences)
    indices = words.indices([s.words for one in crops for s in one.sentences])
    return AlignmentBatch(
        pixels=stack_channels(volume, SPEC)[:, MIDDLE : MIDDLE + 1].contiguous(),
        offset_mm=torch.tensor([one.offset_mm for one in crops], dtype=torch.float32),
        words=indices.unflatten(0, (len(crops), count)),
        meaning=torch.tensor([[s.meaning for s in one.sentences] for one in crops]),
        truth=torch.from_numpy(np.stack([one.truth for one in crops]).astype(np.int64)),
        target=torch.from_numpy(np.stack([one.target for one in crops])).float()[:, :, None],
        known=torch.from_numpy(np.stack([one.known for one in crops])).float()[:, :, None],
        box=torch.tensor([[box_of(mask) for mask in one.target] for one in crops], dtype=torch.float32),
    )


def endless(crops: Sequence[Crop], words: Words, batch: int, seed: int) -> Iterator[AlignmentBatch]:
    """Batches without end: the crops in an order drawn anew each time round, from the seed alone."""
    rng, waiting = np.random.default_rng([seed, 77]), np.zeros(0, int)
    while True:
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(len(crops))])
        yield collate([crops[n] for n in waiting[:batch]], words)
        waiting = waiting[batch:]
