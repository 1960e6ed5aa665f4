"""Runs in a process of its own: trains in a folder, in one or two processes, and may be killed on the way.

python -m tests.training.fitting_script FOLDER OUT PROCESSES BATCH KILLED_AT [STRATEGY]
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import lightning
import torch
from torch.distributed.tensor import DTensor

from tests.training.small import RECIPE, TRAINER, data
from tips_med.model import load_model
from tips_med.query import Lexicon
from tips_med.training.finetune import FinetuneTask
from tips_med.training.fitting import fit_task, step_of
from tips_med.training.manifest_data import ManifestData


class KilledAt(lightning.Callback):
    """No goodbye: what ``kill -9`` does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, out: Path, processes: int, batch: int, killed_at: int, strategy: str = "ddp") -> None:
    model, lexicon = load_model(folder / "tiny.safetensors"), Lexicon.load("chest_ct")
    torch.manual_seed(0)
    task = FinetuneTask.from_model(model, lexicon, RECIPE)
    spec = data(folder / "manifest.csv", batch=batch)
    module = ManifestData(spec, model, lexicon, folder / "cache", RECIPE.steps, start=step_of(out))
    trainer = replace(TRAINER, devices=processes, strategy=strategy if processes > 1 else "auto")
    fitted = fit_task(task, module, out, trainer, [KilledAt(killed_at)] if killed_at else [])
    sharded = sum(isinstance(value, DTensor) for value in task.parameters())
    fitted.save(out, model.card)
    if task.global_rank == 0:
        torch.save((fitted.whole or task).state_dict(), out / "weights.pt")
        (out / "sharded.txt").write_text(str(sharded))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run(Path(sys.argv[1]), Path(sys.argv[2]), *(int(number) for number in sys.argv[3:6]), *sys.argv[6:])
