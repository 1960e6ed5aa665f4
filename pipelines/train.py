"""Fine-tunes a model on a manifest of a hospital's own studies."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from tips_med.model import save_model
from tips_med.models import open_model
from tips_med.progress import Steps, silent
from tips_med.query import Lexicon
from tips_med.training.finetune import FinetuneRecipe, FinetuneTask
from tips_med.training.fitting import TrainerSpec, card_after, fit, step_of
from tips_med.training.manifest_data import DataSpec, ManifestData

log = logging.getLogger(__name__)


def train(
    data: DataSpec,
    out: Path,
    model: str | None = None,
    lexicon: str | None = None,
    name: str = "fine-tuned",
    licence: str = "",
    recipe: FinetuneRecipe | None = None,
    trainer: TrainerSpec | None = None,
    seed: int = 0,
    steps: Steps = silent,
) -> Path:
    """Trains, or goes on where it stopped, and writes ``model.safetensors`` into ``out``.

    Args:
        data: What to train on: --data.manifest FILE.
        out: Folder for the cache, checkpoints, logs and the model.
        model: Weights to start from; the shipped ones if left out.
        lexicon: A name or a YAML file, where the phrases need another one than the model's.
        name: Of the new model, for reports.
        licence: Of the new weights; that of the old ones if left out.
        recipe: How to optimise.
        trainer: Devices, precision, checkpoints.
        seed: Of everything.
        steps: Told of progress; the command line shows a bar.

    Returns:
        The path of the model, for --model.
    """
    recipe, trainer = recipe or FinetuneRecipe(), trainer or TrainerSpec()
    torch.manual_seed(seed)
    base = open_model(model, "cpu")
    language = Lexicon.load(lexicon or base.card.lexicon)
    task = FinetuneTask.from_model(base, language, recipe)
    module = ManifestData(
        data, base, language, out / "cache", recipe.steps, seed, start=step_of(out) * trainer.accumulate
    )
    with steps("preparing studies"):
        module.prepare_data()
    with steps("training"):
        fitted = fit(task, module, out, trainer)
    card = card_after(base, module, language, lexicon, name, licence, recipe, seed)
    if fitted.is_global_zero:
        save_model(out / "model.safetensors", task.image, task.text, task.head, card)
    for one in module.skipped:
        log.warning("line %d was left out (%s): %s", one.line, one.code, one.text)
    log.info("%d row(s) were left out", len(module.skipped))
    return out / "model.safetensors"
