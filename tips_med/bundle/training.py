"""What a bundle's train.yaml is made of: crops of a manifest as dictionaries, and a loss that knows what is not known.

Everything else is MONAI's: trainer, inferer, handlers, metrics. ``tips-med train`` is the whole recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.transforms.transform import Transform
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from tips_med.loading import model_of_bundle
from tips_med.manifest import ManifestError, read_manifest
from tips_med.model import GroundingModel
from tips_med.net import GroundingNet
from tips_med.training.batches import PhraseBatch
from tips_med.training.crops import DataSpec, StudyCrops
from tips_med.training.losses import map_loss
from tips_med.training.studies import prepare_studies

log = logging.getLogger(__name__)


class PhraseCrops(IterableDataset[dict[str, Tensor]]):
    """Batches of crops of a manifest's outlined scans, each with phrases that are asked of it.

    Scans are read once and kept in ``cache``. Phrases without an outline teach nothing here; what is known to be absent
    does.

    Args:
        network: The bundle's network, for its slabs and words.
        models: The bundle's folder ``models``, for its lexicon.
        manifest: A manifest of tips_med.
        split: ``train``: crops without end, mirrored, shifted, with words swapped; any other: each study once, as it
            is.
        cache: Where prepared scans are kept.
        shape: Slabs, rows and columns of a crop; rows and columns are multiples of 16.
        batch: Crops a step.
        questions: Phrases asked of a crop.
        seed: Random seed.
    """

    def __init__(
        self,
        network: GroundingNet,
        models: str | Path,
        manifest: str | Path,
        split: str,
        cache: str | Path,
        shape: Sequence[int] = (16, 160, 160),
        batch: int = 2,
        questions: int = 6,
        seed: int = 0,
    ) -> None:
        self.network, self.models, self.split, self.cache, self.seed = network, Path(models), split, Path(cache), seed
        slabs, rows, columns = shape
        training = split == "train"
        self.spec = DataSpec(Path(manifest), (slabs, rows, columns), batch if training else 1, questions)

    def __len__(self) -> int:
        """Studies of the split."""
        return len(self._files)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        training = self.split == "train"
        slabs, lexicon = self.network.image.config.slabs, self._model.lexicon
        steps = None if training else len(self._files)
        for made in StudyCrops(self._files, self.spec, slabs, lexicon, self.seed, steps=steps, augment=training):
            yield self.tensors(made)

    def tensors(self, made: PhraseBatch) -> dict[str, Tensor]:
        """A batch as MONAI's engines take it.

        Returns:
            ``image`` [batch channel slab y x]; ``label`` [batch phrase slab y x], 0 to 1, NaN where nobody knows;
            ``offset_mm`` [batch 2] and ``words`` [batch phrase word], the network's other inputs.
        """
        crops, questions = made.used.shape
        counts = made.known * made.used[..., None, None, None]
        label = made.target.float().masked_fill(counts <= 0, torch.nan)
        words = self.network.indices(made.phrases).unflatten(0, (crops, questions))
        return {
            "image": made.pixels.transpose(1, 2),
            "label": label,
            "offset_mm": made.offset_mm,
            "words": words,
        }

    @cached_property
    def _model(self) -> GroundingModel:
        return model_of_bundle(self.network, self.models)

    @cached_property
    def _files(self) -> list[Path]:
        rows = [row for row in read_manifest(self.spec.manifest) if row.split == self.split]
        if not rows:
            raise ManifestError(f"has no row of the split {self.split!r}", path=self.spec.manifest, code="no-rows")
        files, skipped = prepare_studies(rows, self._model, self._model.lexicon, self.cache)
        for one in skipped:
            log.warning("line %d was left out (%s): %s", one.line, one.code, one.text)
        if not files:
            raise ManifestError(
                f"holds no usable row of the split {self.split!r}", path=self.spec.manifest, code="no-rows"
            )
        return files


class PhraseLoss(nn.Module):
    """Cross-entropy, its hardest cells and soft Dice of logit maps; see ``tips_med.training.losses.map_loss``."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean over maps of which something is known.

        Args:
            logits: [batch phrase slab y x].
            label: 0 to 1, NaN where nobody knows, the same shape.
        """
        known = torch.isfinite(label)
        counting = known.flatten(2).any(2)
        if not counting.any():
            return logits.sum() * 0
        losses = map_loss(logits.float()[counting], label.nan_to_num()[counting], known.float()[counting])
        return losses.mean()


class KeepKnownd(Transform):
    """Masks of what is known: scores and labels above a half; neither counts where nobody knows.

    Args:
        pred_key: Key of logits, [phrase slab y x].
        label_key: Key of labels with NaN, likewise.
    """

    def __init__(self, pred_key: str = "pred", label_key: str = "label") -> None:
        self.pred_key, self.label_key = pred_key, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Both as float, 0 or 1; maps of which nothing is known are left out."""
        d = dict(data)
        pred, label = d[self.pred_key], d[self.label_key]
        known = torch.isfinite(label)
        kept = known.flatten(1).any(1)
        d[self.pred_key] = ((pred > 0) & known)[kept].float()
        d[self.label_key] = ((label >= 0.5) & known)[kept].float()
        return d
