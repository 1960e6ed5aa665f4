"""Runs Lightning's Trainer over a manifest, so that it can be killed at any moment and goes on."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import ModelParallelStrategy

from tips_med.card import ModelCard
from tips_med.encoders.precision import has_fast_bfloat16
from tips_med.errors import ConfigError, OutputError
from tips_med.training.finetune import FinetuneTask
from tips_med.training.manifest_data import ManifestData

log = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"
_IGNORED_WARNINGS = (
    "You're using the WeightAveraging callback with a model that overrides",  # but shards only with fsdp, and not both
    "Checkpoint directory .* exists and is not empty",  # which is how a run goes on
    "The `srun` command is available",  # how processes are started is the user's choice
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


class AveragedWeights(EMAWeightAveraging):
    """The average of the weights, on their device, which takes their place at the end.

    Lightning's own stays on the processor, where the weights are when it is made: a GPU then waits in every step until
    they are copied. And of a run that had ended before it trains nothing, and leaves the last weights.
    """

    def setup(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @property
    def state_key(self) -> str:
        """Lightning's own, under which checkpoints have it."""
        return EMAWeightAveraging.__qualname__

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: D102
        self.on_train_end(trainer, pl_module)


class ProgressLogger(Callback):
    """Tells how far training is, and how long it will take.

    Every step goes to a bar; the first two, then one every half minute, and every validation go to the log.

    Args:
        progress: Called with (steps done, total steps).
        every_s: Number of seconds between lines of the log.
    """

    def __init__(self, progress: Callable[[int, int], None], every_s: float = 30.0) -> None:
        self.progress, self.every_s = progress, every_s
        self._first = 0
        self._begun = self._told = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102 (Lightning's own)
        self._first, self._begun = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102
        step, total, now = trainer.global_step, int(trainer.max_steps), time.monotonic()
        self.progress(step, total)
        done = step - self._first
        if done < 1 or not trainer.is_global_zero or (done > 2 and now - self._told < self.every_s):
            return
        self._told = now
        each_s = (now - self._begun) / done
        loss = trainer.callback_metrics.get("loss")
        log.info(
            "step %d of %d: %s%.3g s a step, %s left", step, total,
            "" if loss is None else f"loss {float(loss):.3g}, ", each_s, duration(each_s * (total - step)),
        )  # fmt: skip

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102
        shown = {"loss": "loss", "val_dice": "validation Dice", "val_false_ml": "falsely marked ml"}
        terms = [name for name in trainer.callback_metrics if name.startswith(("val_dice/", "val_false_ml/"))]
        shown |= {name: f"{shown[name.partition('/')[0]]} of {name.partition('/')[2]}" for name in sorted(terms)}
        values = [f"{text} {float(trainer.callback_metrics[name]):.3g}" for name, text in shown.items()
                  if name in trainer.callback_metrics]  # fmt: skip
        if trainer.is_global_zero:
            log.info("step %d of %d: %s", trainer.global_step, trainer.max_steps, ", ".join(values) or "no value")


def duration(seconds: float) -> str:
    """A duration in words: ``40 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
    sharded = spec.strategy == "fsdp"
    whole = copy.deepcopy(task) if sharded else None
    try:
        with warnings.catch_warnings():
            for beside_the_point in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", beside_the_point)
            trainer = _trainer(task, data, out, spec, callbacks)
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


def _trainer(
    task: FinetuneTask, data: ManifestData, out: Path, spec: TrainerSpec, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    validates = bool(data.split("val"))
    return lightning.Trainer(
        accelerator=spec.accelerator,
        devices=spec.devices,
        num_nodes=spec.nodes,
        strategy=_sharding(spec) if spec.strategy == "fsdp" else spec.strategy,
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
        log_every_n_steps=1,
        callbacks=[*_callbacks(out, spec, validates), *callbacks],
        enable_model_summary=False,
        enable_progress_bar=False,
    )


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


def _callbacks(out: Path, spec: TrainerSpec, validates: bool) -> list[Callback]:
    found: list[Callback] = [
        ModelCheckpoint(
            out, filename="last", every_n_train_steps=spec.checkpoint_every, enable_version_counter=False, save_top_k=1
        )
    ]
    if spec.ema:
        found.insert(0, AveragedWeights(decay=spec.ema))
    if spec.patience and validates:
        found.append(
            EarlyStopping("val_dice", mode="max", patience=spec.patience, check_on_train_epoch_end=False, strict=False)
        )
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
