"""Fine-tuning on a manifest: dense and weak pairs, as a LightningModule."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from tips_med.encoders.compact import CompactConfig, CompactImageTower
from tips_med.encoders.words import WordsConfig, WordsNet, WordsTextTower
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.losses import map_loss, patch_loss
from tips_med.training.manifest_data import PhraseBatch
from tips_med.training.task import AlignmentTask, Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneRecipe(Recipe):
    """How to fine-tune; see Recipe.

    Attributes:
        weak_weight: Of weak pairs, beside dense ones.
        match_weight: Of patches that have to find their phrase among the phrases asked.
        pool_share: The share of a map's highest cells that a weak pair is judged by.
    """

    steps: int = 1000
    warmup: int = 20
    learning_rate: float = 3e-4
    word_weight: float = 0.2
    weak_weight: float = 0.3
    match_weight: float = 0.2
    pool_share: float = 0.001


class FinetuneTask(AlignmentTask):
    """The towers and the head of a model, trained on crops of a manifest's studies.

    Every loss is a mean over a crop's phrases and then over crops, so that two processes with one crop each learn
    what one process with two crops does.

    Args:
        image: Sizes of the image tower.
        text: Sizes and words of the text tower.
        recipe: How to optimise.
    """

    recipe: FinetuneRecipe

    def __init__(self, image: CompactConfig, text: WordsConfig, recipe: FinetuneRecipe | None = None) -> None:
        super().__init__(image, text, recipe or FinetuneRecipe())

    @classmethod
    def from_model(cls, model: GroundingModel, lexicon: Lexicon, recipe: FinetuneRecipe | None = None) -> FinetuneTask:
        """Starts from a model; words that a lexicon has and the model has not are added to its vocabulary.

        Raises:
            ConfigError: The model is not of compact towers.
        """
        image, text = model.image, model.text
        if not isinstance(image, CompactImageTower) or not isinstance(text, WordsTextTower):
            raise ConfigError("only compact models can be fine-tuned here", expected="weights that tips-med trained")
        words = with_words(text.net, lexicon.vocabulary)
        task = cls(image.net.config, words.config, recipe)
        task.image.load_state_dict(image.net.state_dict())
        task.text.load_state_dict(words.state_dict())
        task.head.load_state_dict(model.head.state_dict())
        return task

    def training_step(self, batch: PhraseBatch, _: int) -> Tensor:
        """One loss over all phrases of all crops."""
        crops, questions = batch.used.shape
        patches, fine = self.image(batch.pixels, batch.offset_mm)
        tokens, pooled = self.text(self.text.indices(batch.phrases).to(self.device))
        word = tokens[torch.arange(len(tokens), device=self.device), batch.word.flatten()]
        text = torch.cat([pooled.unflatten(0, (crops, questions)), word.unflatten(0, (crops, questions))], dim=1)
        logits = self.head.fine_scores(text, patches, fine).float()
        coarse = self.head.patch_scores(text, patches).float()
        # A word alone is right where its phrase is; elsewhere, only a phrase knows (the other side may have one too).
        target = torch.cat([batch.target, batch.target], dim=1)
        known = torch.cat([batch.known, batch.known * (batch.target > 0)], dim=1)
        weight = torch.cat([batch.used, self.recipe.word_weight * batch.used], dim=1)
        weight = weight * (known.flatten(2).amax(2) > 0)
        flat = (logits.flatten(0, 1), coarse.flatten(0, 1), target.flatten(0, 1), known.flatten(0, 1))
        dense = map_loss(flat[0], flat[2], flat[3]).unflatten(0, weight.shape)
        patch = patch_loss(flat[1], flat[2], flat[3]).unflatten(0, weight.shape)
        dense_loss, patch_term = _by_crop(dense, weight), _by_crop(patch, weight)
        weak = weak_loss(logits[:, :questions], batch.presence, batch.used, self.recipe.pool_share)
        match = match_loss(coarse[:, :questions], batch.target, batch.known, batch.used)
        for name, value in (("dense", dense_loss), ("patch", patch_term), ("weak", weak), ("match", match)):
            self.log(name, value, prog_bar=name == "dense", batch_size=crops)
        recipe = self.recipe
        loss = dense_loss + recipe.patch_weight * patch_term + recipe.weak_weight * weak + recipe.match_weight * match
        self.log("loss", loss, batch_size=crops)
        return loss

    def validation_step(self, batch: PhraseBatch, n: int) -> None:
        """Dice of the outlined phrases at a half, and the volume share that is marked for absent ones."""
        crops, questions = batch.used.shape
        patches, fine = self.image(batch.pixels, batch.offset_mm)
        _, pooled = self.text(self.text.indices(batch.phrases).to(self.device))
        chance = self.head.fine_scores(pooled.unflatten(0, (crops, questions)), patches, fine).float().sigmoid()
        mask = (chance >= 0.5) & (batch.known > 0)
        truth = batch.target >= 0.5
        total = mask.flatten(2).sum(2) + truth.flatten(2).sum(2)
        dice = 2 * (mask & truth).flatten(2).sum(2) / total.clamp(min=1)
        dense = (batch.used > 0) & (batch.known.flatten(2).amax(2) > 0)
        there = dense & truth.flatten(2).any(2)
        if there.any():
            self.log("val_dice", dice[there].mean(), prog_bar=True, batch_size=int(there.sum()), sync_dist=True)
        absent = dense & ~there
        if absent.any():
            self.log(
                "val_false",
                mask.flatten(2).float().mean(2)[absent].mean(),
                batch_size=int(absent.sum()),
                sync_dist=True,
            )
        if n == 0:
            self._picture(batch, chance, truth)

    def _picture(self, batch: PhraseBatch, chance: Tensor, truth: Tensor) -> None:
        """The first validation map beside its truth, for loggers that take pictures."""
        slab = int(truth[0, 0].flatten(1).sum(1).argmax())
        middle = batch.pixels.shape[2] // 2
        rows = [batch.pixels[0, slab, middle], chance[0, 0, slab], truth[0, 0, slab].float()]
        picture = torch.cat([row.detach().cpu().clamp(0, 1) for row in rows], dim=1)
        for logger in self.loggers:
            add = getattr(getattr(logger, "experiment", None), "add_image", None)
            if add is not None:
                add(f"scan, map, truth: {batch.phrases[0]}", picture[None], self.global_step)


def with_words(net: WordsNet, words: tuple[str, ...]) -> WordsNet:
    """The same text tower with more words; what it made of the old ones does not change.

    A new word starts as the mean of the old ones, which says nothing yet but is of a usual length.
    """
    new = tuple(word for word in words if word not in net.index)
    if not new:
        return net
    larger = WordsNet(replace(net.config, vocabulary=(*net.config.vocabulary, *new)))
    state = net.state_dict()
    old = state["embedding.weight"]
    state["embedding.weight"] = torch.cat([old, old[1:].mean(0, keepdim=True).expand(len(new), -1)])
    larger.load_state_dict(state)
    log.info("%d words are new to the model: %s", len(new), ", ".join(new[:20]))
    return larger


def weak_loss(logits: Tensor, presence: Tensor, used: Tensor, pool_share: float = 0.001) -> Tensor:
    """Is it there at all? The highest cells of each map against a statement about the whole study.

    The map that is asked for words is the one that is pooled, so a report's sentence teaches where, too
    (multiple-instance learning; Ilse 2018). All statements of a study count, each as its own yes or no.

    Args:
        logits: [crop phrase slab y x].
        presence: 1 or 0 for weak pairs, NaN for others, [crop phrase].
        used: 0 for padding, [crop phrase].
        pool_share: Of the cells, how many are averaged.
    """
    weight = used * presence.isfinite()
    cells = logits.flatten(2)
    pooled = cells.topk(max(1, int(pool_share * cells.shape[2])), dim=2).values.mean(2)
    loss = functional.binary_cross_entropy_with_logits(pooled, presence.nan_to_num(), reduction="none")
    return _by_crop(loss, weight)


def match_loss(patch_logits: Tensor, target: Tensor, known: Tensor, used: Tensor, least: float = 0.5) -> Tensor:
    """Every patch that a phrase covers well has to find it among the phrases asked of its study.

    Several phrases that cover a patch are all right (multi-positive); a phrase of which nobody knows whether it is
    true of the patch is left out of the choice.

    Args:
        patch_logits: [crop phrase slab row col].
        target: On the fine grid, [crop phrase slab y x].
        known: Likewise.
        used: 0 for padding, [crop phrase].
        least: Of a patch that has to be covered, as a share of the phrase's best one: most nodules fill no patch.
    """
    size = target.shape[-1] // patch_logits.shape[-1]
    cover = functional.avg_pool2d(target.flatten(0, 1), size).unflatten(0, used.shape)
    seen = functional.avg_pool2d(known.flatten(0, 1), size).unflatten(0, used.shape)
    asked = (used > 0)[:, :, None, None, None]
    best = cover.flatten(2).amax(2)[:, :, None, None, None]
    right = asked & (cover >= least * best) & (best > 0.02)
    wrong = asked & (seen >= least) & (cover < 0.05 * best.clamp(min=0.02))
    there = right.any(1)
    everything = patch_logits.masked_fill(~(right | wrong), -torch.inf)
    fitting = patch_logits.masked_fill(~right, -torch.inf)
    # Where nothing is right, both are put to 0 before the logarithm, so that no gradient is undefined.
    missing = ~there[:, None]
    loss = everything.masked_fill(missing, 0.0).logsumexp(1) - fitting.masked_fill(missing, 0.0).logsumexp(1)
    weight = there.float().flatten(1)
    return ((loss.flatten(1) * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()


def _by_crop(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of each crop's phrases, then the mean over crops."""
    return ((values * weight).sum(1) / weight.sum(1).clamp(min=1e-6)).mean()
