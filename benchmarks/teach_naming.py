"""Other ways to name what is taught, on the decoder of an adapter: the baselines of ``benchmarks.teach``.

``index`` gives each phrase an embedding of its own in place of the word network. ``outputs`` gives each phrase an
output channel of the fine features, as a plain U-Net has, which the decoder is without its patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tips_med.alignment import AlignmentHead
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import TrainerSpec, fit_task
from tips_med.training.manifest_data import ManifestData
from tips_med.training.towers.adapter import TrainableAdapter


class ClassEmbeddings(CompactTextNet):
    """One embedding for each phrase; its words mean nothing by themselves.

    Args:
        config: Sizes and words, which phrases are told apart by.
        phrases: The classes.
    """

    def __init__(self, config: CompactTextConfig, phrases: Sequence[str]) -> None:
        super().__init__(config)
        numbers = self.indices(phrases)
        self.number = {tuple(n for n in row if n): at for at, row in enumerate(numbers.tolist())}
        self.classes = nn.Embedding(len(phrases), config.width)

    def forward(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """See CompactTextNet: a word has the embedding of its phrase.

        Raises:
            KeyError: A phrase is none of the classes.
        """
        which = [self.number[tuple(n for n in row if n)] for row in indices.tolist()]
        embedding = self.classes(torch.tensor(which))
        return embedding[:, None].expand(-1, indices.shape[1], -1), embedding


class OutputChannels(AlignmentHead):
    """A linear layer on the fine features; its weights and bias are the first values of a class's embedding."""

    def patch_scores(self, text: Tensor, patches: Tensor) -> Tensor:
        """See AlignmentHead: there are none, so these are zero and teach nothing."""
        return super().patch_scores(text, patches).detach() * 0

    def fine_scores(self, text: Tensor, patches: Tensor, fine: Tensor, step: Tensor | None = None) -> Tensor:
        """See AlignmentHead."""
        width = fine.shape[-1]
        weight, bias = text[..., :width] * width**-0.5, text[..., width] - 3
        if step is None:
            return torch.einsum("...qf,...syxf->...qsyx", weight, fine.to(weight.dtype)) + bias[..., None, None, None]
        by_slab = weight[..., None, :] * step
        return torch.einsum("...qsf,...syxf->...qsyx", by_slab, fine.to(weight.dtype)) + bias[..., None, None, None]


def rename(towers: TrainableAdapter, phrases: Sequence[str], mode: str) -> None:
    """Puts ``index`` or ``outputs`` in the place of an adapter's words."""
    adapter = towers.adapter
    adapter.text = ClassEmbeddings(adapter.text.config, phrases)
    if mode == "outputs":
        head = OutputChannels(adapter.text.config.width, towers.patch_width, adapter.head.to_fine.out_features)
        adapter.head = towers.head = head


def taught_by_index(
    mode: str, spec: DataSpec, out: Path, config: FinetuneConfig, trainer: TrainerSpec
) -> GroundingModel:
    """Trains an adapter that names by ``index`` or ``outputs``; all else is as ``pipelines.train`` does it."""
    torch.manual_seed(0)
    base = open_model(None, "cpu")
    module = ManifestData(spec, base, base.lexicon, out / "cache", config.steps)
    module.prepare_data()
    task = FinetuneTask.from_model(base, base.lexicon, config, None, module)
    towers = task.towers
    assert isinstance(towers, TrainableAdapter)
    rename(towers, towers.adapter.config.phrases, mode)
    fitted = fit_task(task, module, out, trainer)
    return replace(fitted.task.towers.model(fitted.task.card), language=base.lexicon)
