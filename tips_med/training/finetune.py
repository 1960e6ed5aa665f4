"""Fine-tuning on a manifest: dense and weak pairs, as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from tips_med.card import ModelCard
from tips_med.model import GroundingModel
from tips_med.query import Lexicon, load_lexicon
from tips_med.training.batches import PhraseBatch
from tips_med.training.cards import phrase_of, taught_card
from tips_med.training.contrast import contrast_loss, mean_scores, pooled_scores
from tips_med.training.distillation import patch_distance
from tips_med.training.losses import map_loss, patch_loss
from tips_med.training.manifest_data import ManifestData
from tips_med.training.matching import mean_over_crops, patch_to_text_loss, text_to_patch_loss, weak_loss
from tips_med.training.optimizer import OptimizerConfig, adamw_with_cosine
from tips_med.training.towers import TrainableTowers, Tuning, trainable_towers
from tips_med.training.validation import ValidatedPhrase, validate_study
from tips_med.training.weak_losses import signal_terms


@dataclass(frozen=True)
class FinetuneConfig(OptimizerConfig):
    """How to fine-tune; see Recipe.

    Attributes:
        objective: What ties images to words. ``patch-token``: patches and phrases, by all losses below. ``image-text``:
            whole crops and sentences without a mask alone, as CLIP does it (Radford 2021, arXiv:2103.00020), for
            comparison; of the losses below a teacher's remains. See docs/alignment.md for objectives that are not here.
        weak_weight: Weight of weak pairs, beside dense ones.
        match_weight: Weight of the two contrastive losses: each patch finds its phrase among those of the crop, each
            phrase and word finds its patches among those of the crop.
        slice_weight: Weight of cited slices: the map has to peak in them, and evidence is looked for there. 0 for this
            and each of the next three leaves that signal out.
        size_weight: Weight of stated sizes: bounds on the volume and the extent of the map around its peak.
        count_weight: Weight of counts and of both sides: as many separate peaks, evidence on each side.
        region_weight: Weight of organs and sides: nothing outside of them, evidence inside.
        contrast_weight: Weight of weak pairs against the other studies of a batch.
        distil_weight: Weight of a teacher's patches, where there is a teacher.
        pool_share: Share of a map's highest cells that a weak pair is judged by, 0 to 1.
        checkpointing: Compute activations again in the backward pass: slower, with less memory.
    """

    objective: Literal["patch-token", "image-text"] = "patch-token"
    steps: int = 1000
    warmup: int = 20
    learning_rate: float = 3e-4
    word_weight: float = 0.2
    weak_weight: float = 0.3
    match_weight: float = 0.2
    slice_weight: float = 0.3
    size_weight: float = 0.1
    count_weight: float = 0.1
    region_weight: float = 0.3
    contrast_weight: float = 0.1
    distil_weight: float = 1.0
    pool_share: float = 0.001
    checkpointing: bool = False


class FinetuneTask(lightning.LightningModule):
    """Towers and their head, trained on crops of a manifest's studies.

    Every loss is a mean over a crop's phrases and then over crops, so that two processes with one crop each learn
    what one process with two crops does; but for the contrast of weak pairs, which is within a process's batch.

    Args:
        towers: Towers to train; see ``trainable_towers``.
        config: Steps, learning rate and weights of the losses.
        teacher_width: Embedding size of the teacher's patches to distil; 0 for none.

    Attributes:
        card: Card of the model that is being made: what it will answer, and where.
        lexicon: Lexicon of the phrases.
    """

    def __init__(self, towers: TrainableTowers, config: FinetuneConfig | None = None, teacher_width: int = 0) -> None:
        super().__init__()
        self.towers, self.config = towers, config or FinetuneConfig()
        self.card, self.lexicon = ModelCard("in training", ()), load_lexicon(ModelCard.lexicon)
        self.to_teacher = nn.Linear(towers.patch_width, teacher_width) if teacher_width else None

    @classmethod
    def from_model(
        cls,
        model: GroundingModel,
        lexicon: Lexicon,
        config: FinetuneConfig | None = None,
        tuning: Tuning | None = None,
        data: ManifestData | None = None,
    ) -> FinetuneTask:
        """Starts from a model; words that a lexicon has and a compact model has not are added to its vocabulary.

        Args:
            model: Model to start from.
            lexicon: Lexicon of the phrases.
            config: Steps, learning rate and weights of the losses.
            tuning: Modes of the towers.
            data: Prepared manifest that it will learn. With it, a compact model learns an adapter, and what it knew
                stays as it is, unless ``tuning`` sets another mode; and the terms of the manifest can be validated.

        Raises:
            ConfigError: The model's towers cannot be trained, or not in that way.
        """
        config = config or FinetuneConfig()
        phrases = [phrase_of(query) for query in data.taught] if data else []
        towers = trainable_towers(model, lexicon, tuning, config.checkpointing, phrases)
        task = cls(towers, config, data.teacher_width if data else 0)
        # Of an unknown manifest any phrase may be validated: a card without findings refuses none.
        unknown = replace(model.card.after_training(), findings=())
        task.card = taught_card(model, data, towers.keeps) if data else unknown
        task.lexicon = lexicon
        return task

    def training_step(self, batch: PhraseBatch, _: int) -> Tensor:
        """One loss over all phrases of all crops."""
        crops, questions = batch.used.shape
        patches, fine = self.towers.encode_images(batch.pixels, batch.offset_mm)
        tokens, pooled = self.towers.encode_phrases(batch.phrases)
        if self.config.objective == "image-text":
            contrast = self._contrast(pooled.unflatten(0, (crops, questions)), patches, batch, mean_scores)
            # Not of the graph where no sentence can be compared: a step without a gradient is an error.
            return self._total({"contrast": (contrast + 0 * patches.sum(), 1.0)}, patches, batch)
        word = tokens[torch.arange(len(tokens), device=self.device), batch.word.flatten()]
        text = torch.cat([pooled.unflatten(0, (crops, questions)), word.unflatten(0, (crops, questions))], dim=1)
        logits = self.towers.head.fine_scores(text, patches, fine).float()
        coarse = self.towers.head.patch_scores(text, patches).float()
        # A word is right where its phrase is; elsewhere, only a phrase knows (the other side may have one, too), unless
        # the word means all that the phrase means.
        target = torch.cat([batch.target, batch.target], dim=1)
        of_word = torch.maximum((batch.target > 0).float(), batch.alone[..., None, None, None])
        known = torch.cat([batch.known, batch.known * of_word], dim=1)
        weight = torch.cat([batch.used, self.config.word_weight * batch.used], dim=1)
        weight = weight * (known.flatten(2).amax(2) > 0)
        flat = (logits.flatten(0, 1), coarse.flatten(0, 1), target.flatten(0, 1), known.flatten(0, 1))
        dense = map_loss(flat[0], flat[2], flat[3]).unflatten(0, weight.shape)
        patch = patch_loss(flat[1], flat[2], flat[3]).unflatten(0, weight.shape)
        dense_loss, patch_term = mean_over_crops(dense, weight), mean_over_crops(patch, weight)
        weak = self._weak(logits[:, :questions], batch)
        match = patch_to_text_loss(coarse[:, :questions], batch.target, batch.known, batch.used)
        find = text_to_patch_loss(coarse, target, known, weight)
        config = self.config
        terms = {
            "dense": (dense_loss, 1.0),
            "patch": (patch_term, config.patch_weight),
            **weak,
            "match": (match, config.match_weight),
            "find": (find, config.match_weight),
            "contrast": (self._contrast(text[:, :questions], patches, batch), config.contrast_weight),
        }
        return self._total(terms, patches, batch)

    def _total(self, terms: dict[str, tuple[Tensor, float]], patches: Tensor, batch: PhraseBatch) -> Tensor:
        """The weighted sum of all terms and, where there is a teacher, of its distance; logs each."""
        if self.to_teacher is not None and batch.teacher is not None and batch.taught is not None:
            distance = patch_distance(self.to_teacher(patches), batch.teacher, batch.taught).mean()
            terms = {**terms, "distil": (distance, self.config.distil_weight)}
        loss = torch.stack([weight * value for value, weight in terms.values()]).sum()
        for name, (value, _weight) in (*terms.items(), ("loss", (loss, 1.0))):
            self.log(name, value, prog_bar=name == "dense", batch_size=len(batch.used))
        return loss

    def _weak(self, logits: Tensor, batch: PhraseBatch) -> dict[str, tuple[Tensor, float]]:
        """Weak phrases, with their weights: that they are there, and what reports say beside it."""
        config = self.config
        if batch.signals is None:
            evidence = weak_loss(logits, batch.presence, batch.used, config.pool_share)
            return {"weak": (evidence, config.weak_weight)}
        weights = {
            "slice": config.slice_weight,
            "size": config.size_weight,
            "count": config.count_weight,
            "region": config.region_weight,
        }
        terms = signal_terms(logits, batch.signals, batch.presence, batch.used, config.pool_share, weights)
        return {name: (value, (weights | {"weak": config.weak_weight})[name]) for name, value in terms.items()}

    def _contrast(
        self,
        text: Tensor,
        patches: Tensor,
        batch: PhraseBatch,
        pool: Callable[[Tensor], Tensor] = pooled_scores,
    ) -> Tensor:
        """Weak phrases of every study against the maps of the others."""
        counting = batch.relation.any(0)
        if not counting.any():
            return patches.new_zeros(())
        texts = text.flatten(0, 1)[counting]
        scores = self.towers.head.patch_scores(texts.expand(len(patches), -1, -1), patches).float()
        return contrast_loss(pool(scores), batch.relation[:, counting])

    def validation_step(self, file: Path, n: int) -> None:
        """Answers one whole study as ``ground`` does: Dice of what is outlined, marked volume of what is absent."""
        model = replace(self.towers.model(self.card), language=self.lexicon)
        with torch.autocast(self.device.type, enabled=False):
            for one in validate_study(file, model):
                outlined = one.truth is not None
                name, value = ("val_dice", one.dice) if outlined else ("val_false_ml", one.false_ml)
                self.log(name, value, prog_bar=outlined, batch_size=1, sync_dist=True)
                self.log(f"{name}/{one.term}", value, batch_size=1, sync_dist=True)
                if outlined and n == 0:
                    self._picture(one)

    def configure_model(self) -> None:
        """Shards the weights when Lightning's strategy gives the devices (FSDP2); else does nothing."""
        if self.device_mesh is None or isinstance(self, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        self.to(memory_format=torch.contiguous_format)  # which FSDP requires  # pyright: ignore[reportCallIssue]
        for layer in self.towers.layers():
            fully_shard(layer, mesh=mesh)
        fully_shard(self, mesh=mesh)
        for step in ("training_step", "validation_step"):
            register_fsdp_forward_method(self, step)

    def configure_optimizers(self):  # noqa: D102 (Lightning's own signature)
        return adamw_with_cosine(self.parameters(), self.config)

    def _picture(self, one: ValidatedPhrase) -> None:
        """An answer beside its truth, for loggers that take pictures."""
        if one.truth is None:
            return
        plane = int(one.truth.reshape(len(one.truth), -1).sum(1).argmax())
        scan = (np.nan_to_num(one.answer.scan.voxels[plane], nan=-1024.0) + 1000) / 1400
        rows = [scan.clip(0, 1), one.answer.mask[plane], one.truth[plane]]
        picture = torch.from_numpy(np.concatenate([row.astype(np.float32) for row in rows], axis=1))
        for logger in self.loggers:
            add = getattr(getattr(logger, "experiment", None), "add_image", None)
            if add is not None:
                add(f"scan, answer, truth: {one.label.phrase}", picture[None], self.global_step)
