"""Fine-tunes a model on a manifest of a hospital's own studies."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from tips_med.errors import ConfigError
from tips_med.loading import has_own_lexicon, open_model
from tips_med.model import LEXICON
from tips_med.progress import StepFactory, no_progress
from tips_med.query import Lexicon
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import ProgressLogger, TrainerSpec, card_after, fit_task, step_of
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
    optimizer: FinetuneConfig | None = None,
    tuning: Tuning | None = None,
    trainer: TrainerSpec | None = None,
    seed: int = 0,
    steps: StepFactory = no_progress,
) -> Path:
    """Trains, or goes on where it stopped, and writes the model into ``out``.

    Args:
        data: Training data: --data.manifest FILE.
        out: Folder for the cache, checkpoints, logs and the model.
        model: Weights to start from, or tips:FOLDER; the shipped ones if left out.
        lexicon: Name or YAML file of the lexicon; that of the model if left out.
        name: Name of the new model, for reports.
        licence: Licence of the new weights; that of the old ones if left out.
        optimizer: Steps, learning rate and weights of the losses.
        tuning: Modes of the towers; by default all of compact ones, and LoRA in the image tower of TIPS.
        trainer: Devices, precision, checkpoints.
        seed: Random seed (integer, 0 or more).
        steps: Progress of the work; the command line shows a bar.

    Returns:
        The model, for --model: a file of compact towers, or a folder of TIPS towers.
    """
    optimizer, trainer = optimizer or FinetuneConfig(), trainer or TrainerSpec()
    torch.manual_seed(seed)
    base = open_model(model, "cpu")
    if lexicon is None and has_own_lexicon(base):
        raise ConfigError(
            f"the model {base.card.name!r} brought a lexicon of its own",
            expected="--lexicon, so that the new model knows where it lies",
            remedy=f"copy {LEXICON} of its folder to a place where it can stay, and name it",
            code="lexicon",
        )
    language = Lexicon.load(lexicon) if lexicon else base.lexicon
    start = step_of(out) * trainer.accumulate
    module = ManifestData(data, base, language, out / "cache", optimizer.steps, seed, start)
    with steps("preparing studies") as progress:
        module.prepare_data(progress)
    task = FinetuneTask.from_model(base, language, optimizer, tuning, module.teacher_width)
    with steps("training") as progress:
        fitted = fit_task(task, module, out, trainer, [ProgressLogger(progress)])
    with steps("writing the model"):
        saved = fitted.save(out, card_after(base, module, language, lexicon, name, licence, optimizer, seed))
    left_out = module.skipped + module.damaged()
    for one in left_out:
        log.warning("line %d was left out (%s): %s", one.line, one.code, one.text)
    log.info("%d row(s) were left out", len(left_out))
    return saved
