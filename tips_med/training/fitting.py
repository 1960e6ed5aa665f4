"""Runs Lightning's Trainer over a manifest, so that it can be killed at any moment and goes on."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import ModelParallelStrategy

from tips_med.card import ModelCard
from tips_med.encoders.compact import has_fast_bfloat16
from tips_med.errors import ConfigError, OutputError
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.manifest_data import ManifestData
from tips_med.training.studies import read_study_header

log = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"
_IGNORED_WARNINGS = (
    "You're using the WeightAveraging callback with a model that overrides",  # but shards only with fsdp, and not both
    "Checkpoint directory .* exists and is not empty",  # which is how a run goes on
    ".*isinstance.treespec, LeafSpec.* is deprecated",  # Lightning's own matter
)
"""Warnings of Lightning that would only worry people here."""


@dataclass(frozen=True)
class TrainerSpec:
    """Devices, precision and checkpoints; what Lightning's Trainer is given.

    Attributes:
        accelerator: Accelerator: ``auto``, ``cpu`` or ``gpu``.
        devices: Number of devices, or ``auto``.
        nodes: Number of machines.
        strategy: Strategy of Lightning: ``auto``, ``ddp``; or ``fsdp``, which shards weights (FSDP2), for towers that
            fit no GPU.
        precision: Precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``; ``auto`` is the second where the machine is
            quick at it.
        accumulate: Number of steps whose gradients are summed.
        ema: Decay of the averaged weights, which are saved; 0 for no average.
        checkpoint_every: Number of steps between checkpoints.
        validate_every: Number of steps between validations.
        patience: Number of validations without a better Dice before training stops; 0 for never.
        threads: Number of CPU threads of every process; 0 for torch's own choice.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    accumulate: int = 1
    ema: float = 0.99
    checkpoint_every: int = 100
    validate_every: int = 100
    patience: int = 0
    threads: int = 0


def precision_of(wanted: str, accelerator: str) -> str:
    """Lightning's name of a precision; ``auto`` looks at the machine, for bfloat16 can also be ten times as slow."""
    if wanted != "auto":
        return wanted
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    fast = has_fast_bfloat16(torch.device("cuda" if on_gpu else "cpu"))
    return "bf16-mixed" if fast else "32-true"


def step_of(out: Path) -> int:
    """Steps that an earlier run in a folder has done."""
    checkpoint = out / CHECKPOINT
    if not checkpoint.exists():
        return 0
    try:
        return int(torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["global_step"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise OutputError(
            f"is a damaged checkpoint ({error})", path=checkpoint, remedy="delete it to begin anew", code="checkpoint"
        ) from error


class ProgressLogger(Callback):
    """Tells how far training is: every step to a bar, and every validation to the log.

    Args:
        progress: Called with (steps done, total steps).
    """

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102 (Lightning's own)
        self.progress(trainer.global_step, int(trainer.max_steps))

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102
        shown = {"loss": "loss", "val_dice": "validation Dice", "val_false": "falsely marked share"}
        values = [f"{text} {float(trainer.callback_metrics[name]):.3g}" for name, text in shown.items()
                  if name in trainer.callback_metrics]  # fmt: skip
        if trainer.is_global_zero:
            log.info("step %d of %d: %s", trainer.global_step, trainer.max_steps, ", ".join(values) or "no value")


@dataclass(frozen=True, eq=False)
class FitResult:
    """A training that has ended.

    Attributes:
        trainer: Trainer of Lightning.
        task: Trained task; under FSDP every process holds a part of its weights.
        whole: Copy from before the weights were sharded; None where they never were.
    """

    trainer: lightning.Trainer
    task: FinetuneTask
    whole: FinetuneTask | None = None

    def save(self, out: Path, card: ModelCard) -> Path:
        """Writes the model, in the first process; all have to call it. See TrainableTowers.save."""
        towers = self.task.towers
        if self.whole is not None:
            state = self.trainer.strategy.lightning_module_state_dict()
            towers = self.whole.towers
            if self.trainer.is_global_zero:
                self.whole.load_state_dict(state)
        return towers.save(out, card) if self.trainer.is_global_zero else out


def fit_task(
    task: FinetuneTask,
    data: ManifestData,
    out: Path,
    spec: TrainerSpec,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Trains until the last step, from the folder's last checkpoint if there is one.

    Args:
        task: Task to train; holds the averaged weights afterwards, where there are any.
        data: Training data; its ``start`` is the checkpoint's step.
        out: Folder for checkpoint and logs.
        spec: Settings of the training: devices, precision, checkpoints.
        callbacks: Further callbacks, beside those of checkpoints, averaging and early stopping.

    Raises:
        OutputError: The checkpoint or the logs cannot be written; the last checkpoint is as it was.
        ConfigError: The crops do not fit the towers, or the strategy does not go with the rest.
    """
    task.towers.check_shape(data.spec.shape)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    checkpoint = out / CHECKPOINT
    validates = bool(data.split("val"))
    sharded = spec.strategy == "fsdp"
    whole = copy.deepcopy(task) if sharded else None
    trainer = lightning.Trainer(
        accelerator=spec.accelerator,
        devices=spec.devices,
        num_nodes=spec.nodes,
        strategy=_sharding(spec) if sharded else spec.strategy,
        precision=precision_of(spec.precision, spec.accelerator),  # type: ignore[arg-type]
        accumulate_grad_batches=spec.accumulate,
        max_steps=task.config.steps,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,  # crops differ by rank
        val_check_interval=spec.validate_every * spec.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        logger=_loggers(out, data.start // spec.accumulate),
        log_every_n_steps=10,
        callbacks=[*_callbacks(out, spec, validates), *callbacks],
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    try:
        with warnings.catch_warnings():
            for beside_the_point in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", beside_the_point)
            trainer.fit(
                task, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.exists() else None, weights_only=True
            )
    except OSError as error:
        raise OutputError(
            f"training stopped, since a file cannot be written ({error.strerror or error})",
            path=out,
            remedy="make room and run it again: it goes on from the last checkpoint",
        ) from error
    return FitResult(trainer, task, whole)


def _sharding(spec: TrainerSpec) -> ModelParallelStrategy:
    if spec.ema:
        raise ConfigError(
            f"averaged weights (ema {spec.ema}) of a sharded model",
            expected="no averaging with fsdp, which Lightning has not",
            remedy="add --trainer.ema 0",
        )
    if not isinstance(spec.devices, int):
        raise ConfigError("fsdp on any number of devices", expected="a number", remedy="set --trainer.devices")
    # One file, assembled in the first process: the same kind of checkpoint as without sharding.
    return ModelParallelStrategy(spec.devices * spec.nodes, 1, save_distributed_checkpoint=False)


def card_after(
    base: GroundingModel,
    data: ManifestData,
    language: Lexicon,
    lexicon: str | None,
    name: str,
    licence: str,
    config: FinetuneConfig,
    seed: int,
) -> ModelCard:
    """The card of a fine-tuned model: the old one, with the terms, the data and the hash of what it was trained on.

    A term counts as learned when a row marks it present somewhere, and in the structure that the row names.
    Calibrations of findings do not carry over, for training moved what they were fitted on: until ``calibrate`` has
    seen the new weights, their answers come with scores.
    """
    findings, structures = list(base.card.findings), list(base.card.structures)
    places = {term: list(taught) for term, taught in base.card.places.items()}
    labels = [one for file in data.files["train"] for one in read_study_header(file).statements]
    for text in dict.fromkeys(one.text for one in labels if one.label == "present"):
        query = language.parse(text)
        term, known = (query.finding, findings) if query.finding else (query.structure, structures)
        if term is not None and term.id not in known:
            known.append(term.id)
        if query.finding is not None:
            chest = ["lung"] if query.finding.id in base.card.findings else []
            taught = places.setdefault(query.finding.id, chest)
            place = query.structure.id if query.structure else query.finding.within or "lung"
            taught += [place] if place not in taught else []
    manifest = data.spec.manifest.read_bytes()
    trained: dict[str, Any] = {
        **base.card.trained,
        "fine_tuned_from": base.sha256,
        "fine_tuning_steps": config.steps,
        "fine_tuning_seed": seed,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "studies_sha256": hashlib.sha256("".join(file.name for file in data.files["train"]).encode()).hexdigest(),
    }
    return replace(
        base.card.after_training(),
        name=name,
        findings=tuple(findings),
        structures=tuple(structures),
        lexicon=lexicon or base.card.lexicon,
        licence=licence or base.card.licence,
        data=(*base.card.data, f"Fine-tuned on {len(data.files['train'])} studies of the user's own"),
        places={term: tuple(taught) for term, taught in places.items()},
        trained=trained,
    )


def _callbacks(out: Path, spec: TrainerSpec, validates: bool) -> list[Callback]:
    found: list[Callback] = [
        ModelCheckpoint(
            out, filename="last", every_n_train_steps=spec.checkpoint_every, enable_version_counter=False, save_top_k=1
        )
    ]
    if spec.ema:
        found.insert(0, EMAWeightAveraging(decay=spec.ema))
    if spec.patience and validates:
        found.append(EarlyStopping("val_dice", mode="max", patience=spec.patience, check_on_train_epoch_end=False))
    return found


def _loggers(out: Path, start: int) -> list[Logger]:
    """Each run's own, named by its first step: the CSV logger would delete those of the run that it goes on from."""
    found: list[Logger] = [CSVLogger(out, name="log", version=f"from-step-{start}")]
    try:
        from lightning.pytorch.loggers import TensorBoardLogger

        found.append(TensorBoardLogger(out, name="tensorboard", version=f"from-step-{start}"))
    except ModuleNotFoundError:
        log.info("no TensorBoard here: logs are CSV only")
    return found
