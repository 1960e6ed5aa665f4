"""How quick a training is, whether its device is kept busy, and when it has to end."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from tips_med.training.fitting import duration

log = logging.getLogger(__name__)
GIB = 1 << 30


class PaceLogger(Callback):
    """Tells how many scenes a second are learned from, and for what share of the time there was nothing to learn from.

    Both go to the logs of every step, and with the device's use to the log of the first two steps and then every half
    minute. A step on a GPU goes on after Python has given it: there, waiting is the most that it may have been idle.

    Args:
        scenes: Number of scenes a step.
        every_s: Number of seconds between lines of the log.
    """

    def __init__(self, scenes: int, every_s: float = 30.0) -> None:
        self.scenes, self.every_s = scenes, every_s
        self._begun = self._ended = time.monotonic()
        self._steps, self._waited_s = 0, 0.0
        self._first = 0

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:  # noqa: D102 (Lightning's own)
        self._first = trainer.global_step
        self._again()

    def on_train_batch_start(self, *_: object) -> None:  # noqa: D102
        self._waited_s += time.monotonic() - self._ended

    def on_train_batch_end(  # noqa: D102
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object
    ) -> None:
        self._ended = time.monotonic()
        self._steps += 1
        took_s = max(self._ended - self._begun, 1e-9)
        pace, waited = self.scenes * self._steps / took_s, self._waited_s / took_s
        pl_module.log_dict({"scenes_per_second": pace, "waiting_share": waited})
        done, total = trainer.global_step - self._first, int(trainer.max_steps)
        if done > 2 and took_s < self.every_s:
            return
        use = device_use(pl_module.device)
        log.info(
            "step %d of %d: %.3g scenes a second, waiting for scenes %.0f%% of the time%s, %s left",
            trainer.global_step, total, pace, 100 * waited, f", {use}" if use else "",
            duration(took_s / self._steps * (total - trainer.global_step)),
        )  # fmt: skip
        self._again()

    def _again(self) -> None:
        self._begun = self._ended = time.monotonic()
        self._steps, self._waited_s = 0, 0.0


class StopInTime(Callback):
    """Ends a training after some time, with a checkpoint from which it goes on.

    Args:
        minutes: Number of minutes; 0 for no end.
        checkpoint: File of the checkpoint.
        begun: Value of ``time.monotonic`` from which the minutes count; now if left out.
    """

    def __init__(self, minutes: float, checkpoint: Path, begun: float | None = None) -> None:
        self.minutes, self.checkpoint = minutes, checkpoint
        self.begun = time.monotonic() if begun is None else begun

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: D102
        if not self.minutes or time.monotonic() - self.begun < 60 * self.minutes:
            return
        if trainer.global_step < trainer.max_steps:
            trainer.save_checkpoint(self.checkpoint)
            trainer.should_stop = True
            log.info("stopped in time, after step %d of %d", trainer.global_step, trainer.max_steps)


def device_use(device: torch.device) -> str:
    """How busy a GPU is, as its driver tells, and the most memory that torch has held; empty for a CPU.

    Of several GPUs it is the use of the busiest one: the driver counts them otherwise than torch.
    """
    if device.type != "cuda":
        return ""
    told = f"at most {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB of its memory"
    percent = gpu_percent()
    return told if percent is None else f"GPU busy {percent:.0f}% of the last moment, {told}"


def gpu_percent() -> float | None:
    """Use of the busiest GPU in the last moment in percent, as ``nvidia-smi`` tells; None where it tells nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        told = subprocess.run(  # noqa: S603 (a fixed command)
            [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
        return max(float(line) for line in told.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
