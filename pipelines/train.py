"""Fine-tunes a model on a manifest of a hospital's own studies."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from tips_med.errors import ConfigError
from tips_med.loading import has_own_lexicon, open_model
from tips_med.model import GroundingModel
from tips_med.model_files import LEXICON
from tips_med.progress import StepFactory, log_progress, no_progress
from tips_med.query import Lexicon
from tips_med.training.cards import calibration_keys, described
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import ProgressLogger, TrainerSpec, fit_task, step_of
from tips_med.training.forgetting import TOLERANCE, TermChange, forgetting_table, measure_forgetting
from tips_med.training.manifest_data import ManifestData
from tips_med.training.outlined_elsewhere import outlined_elsewhere
from tips_med.training.run_settings import check_settings, settings_of
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
    check_scans: int = 4,
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
        check_scans: Number of painted scans on which every term that was known is measured before and after, 0 or
            more: two to three CPU minutes for each.
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
    check_settings(out, settings_of(data, base.sha256, optimizer, tuning, seed), resumes=start > 0)
    module = ManifestData(data, base, language, out / "cache", optimizer.steps, seed, start)
    with steps("preparing studies") as progress:
        module.prepare_data(progress)
    task = FinetuneTask.from_model(base, language, optimizer, tuning, module)
    for elsewhere in outlined_elsewhere(module.files["train"], base, task.card, language):
        log.warning("%s", elsewhere.warning)
    # Where there is no terminal, the log of training itself tells how far it is.
    with (no_progress if steps is log_progress else steps)("training") as progress:
        fitted = fit_task(task, module, out, trainer, [ProgressLogger(progress)])
    with steps("writing the model"):
        card = described(task.card, base, module, name, licence, lexicon, optimizer.steps, seed)
        saved = fitted.save(out, card)
    left_out = module.skipped + module.damaged()
    for one in left_out:
        log.warning("line %d was left out (%s): %s", one.line, one.code, one.text)
    log.info("%d row(s) were left out", len(left_out))
    if fitted.trainer.is_global_zero:
        trained = open_model(str(saved), "cpu")
        if check_scans and base.card.findings:
            with steps("measuring what it still knows") as progress:
                _tell_forgetting(measure_forgetting(base, trained, check_scans, progress), trained)
        uncalibrated = [key for key in calibration_keys(trained) if trained.card.calibration_of(key) is None]
        if uncalibrated:
            log.info(
                "not calibrated, so never present or absent: %s. Next: tips-med calibrate --model %s --manifest "
                "MANIFEST --out calibrated%s", ", ".join(uncalibrated), saved, saved.suffix,
            )  # fmt: skip
    return saved


def _tell_forgetting(changes: list[TermChange], trained: GroundingModel) -> None:
    log.info("before and after, on painted scans:\n%s", forgetting_table(changes, list(trained.card.calibration)))
    lost = [one.term for one in changes if one.lost]
    if lost:
        log.warning(
            "worse than before by more than %g Dice or AUROC: %s. Leave out --tuning.image.mode full to keep them",
            TOLERANCE,
            ", ".join(lost),
        )
