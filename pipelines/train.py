"""Fine-tunes a model on a manifest of a hospital's own studies."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from tips_med.models import open_model
from tips_med.progress import Steps, silent
from tips_med.query import Lexicon
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneRecipe, FinetuneTask
from tips_med.training.fitting import Told, TrainerSpec, card_after, fit, step_of
from tips_med.training.manifest_data import ManifestData
from tips_med.training.towers import Tuning

log = logging.getLogger(__name__)


def train(
    data: DataSpec,
    out: Path,
    model: str | None = None,
    lexicon: str | None = None,
    name: str = "fine-tuned",
    licence: str = "",
    recipe: FinetuneRecipe | None = None,
    tuning: Tuning | None = None,
    trainer: TrainerSpec | None = None,
    seed: int = 0,
    steps: Steps = silent,
) -> Path:
    """Trains, or goes on where it stopped, and writes the model into ``out``.

    Args:
        data: What to train on: --data.manifest FILE.
        out: Folder for the cache, checkpoints, logs and the model.
        model: Weights to start from, or tips:FOLDER; the shipped ones if left out.
        lexicon: A name or a YAML file, where the phrases need another one than the model's.
        name: Of the new model, for reports.
        licence: Of the new weights; that of the old ones if left out.
        recipe: How to optimise.
        tuning: What of the towers learns; of compact ones all of it, of TIPS towers LoRA in the image tower.
        trainer: Devices, precision, checkpoints.
        seed: Of everything.
        steps: Told of progress; the command line shows a bar.

    Returns:
        The model, for --model: a file of compact towers, or a folder of TIPS towers.
    """
    recipe, trainer = recipe or FinetuneRecipe(), trainer or TrainerSpec()
    torch.manual_seed(seed)
    base = open_model(model, "cpu")
    language = Lexicon.load(lexicon or base.card.lexicon)
    start = step_of(out) * trainer.accumulate
    module = ManifestData(data, base, language, out / "cache", recipe.steps, seed, start)
    with steps("preparing studies") as progress:
        module.prepare_data(progress)
    task = FinetuneTask.from_model(base, language, recipe, tuning, module.teacher_width)
    with steps("training") as progress:
        fitted = fit(task, module, out, trainer, [Told(progress)])
    with steps("writing the model"):
        saved = fitted.save(out, card_after(base, module, language, lexicon, name, licence, recipe, seed))
    left_out = module.skipped + module.damaged()
    for one in left_out:
        log.warning("line %d was left out (%s): %s", one.line, one.code, one.text)
    log.info("%d row(s) were left out", len(left_out))
    return saved
