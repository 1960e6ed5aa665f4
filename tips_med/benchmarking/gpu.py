"""Times on a GPU: of the image tower, a question and a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from tips_med.benchmarking.clock import MIB, Clock
from tips_med.benchmarking.curve_tasks import questions
from tips_med.encoders.compact import CompactConfig, CompactImageTower
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextTower
from tips_med.encoders.precision import has_fast_bfloat16
from tips_med.grounding.encoding import cut_slabs, encode_slabs
from tips_med.grounding.ground import ground
from tips_med.grounding.modality import ensure_known_modality
from tips_med.loading import open_model, pick_device
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.training.optimizer import OptimizerConfig
from tips_med.training.painted import PaintedBatch
from tips_med.training.task import AlignmentTask

REPEATS = 3
SCENES, QUESTIONS, WORDS, SHAPE = 2, 14, 4, (8, 112, 160)
"""As in pretrain_chest_ct.yaml: scenes of a step, questions and single words of a scene, (slab, y, x)."""


def measure_gpu(clock: Clock, scan: str, model: str | None = None) -> dict[str, Any]:
    """Seconds of encoding, a further question and a training step on the GPU.

    Args:
        clock: Runs since this process was started.
        scan: Path of a scan.
        model: As ``open_model`` takes it.

    Raises:
        ConfigError: There is no GPU.
    """
    del clock  # each is timed apart, several times
    return times_on(pick_device("cuda"), scan, open_model(model, "cuda"))


def times_on(
    device: torch.device, scan: str, model: GroundingModel, shape: tuple[int, int, int] = SHAPE
) -> dict[str, Any]:
    """Times on a device, each the fastest of three, after one that warms up.

    Args:
        device: Device that the model is on.
        scan: Path of a scan.
        model: Model; questions are scored on the processor, where the features are kept.
        shape: Shape of a scene to train on, (slab, y, x), multiples of 16 in y and x.
    """
    volume = ensure_known_modality(read_scan(scan), model)
    slabs = cut_slabs(volume, model)
    study = encode_slabs(volume, slabs, model)

    asked = cycle(questions(model))  # no two in a row share a map
    ground(study, next(asked), model)

    found: dict[str, Any] = {"slabs": len(slabs.seen)}
    found["encode_seconds"] = fastest(lambda: model.image.encode(slabs), device)
    found["question_seconds"] = fastest(lambda: ground(study, next(asked), model), device)
    if isinstance(model.image, CompactImageTower) and isinstance(model.text, CompactTextTower):
        step = training_step(device, model.image.net.config, model.text.net.config, shape)
        found["training_step_seconds"] = fastest(step, device)
        found["training_step"] = {"scenes": SCENES, "questions": QUESTIONS, "shape": list(shape)}
    if device.type == "cuda":
        found["peak_mib"] = round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    return found


def training_step(
    device: torch.device, image: CompactConfig, text: CompactTextConfig, shape: tuple[int, int, int]
) -> Callable[[], None]:
    """A step of training on random scenes: forward, backward and the optimizer's, without making the scenes."""
    task = _Quiet(image, text, OptimizerConfig()).to(device)
    optimizer: Any = task.configure_optimizers()["optimizer"]
    generator = torch.Generator().manual_seed(0)
    maps = (SCENES, QUESTIONS + WORDS, *shape)
    phrases = [text.vocabulary[n % len(text.vocabulary)] for n in range(SCENES * QUESTIONS)]
    batch = PaintedBatch(
        pixels=torch.rand(SCENES, shape[0], image.slabs.channels, *shape[1:], generator=generator).to(device),
        offset_mm=torch.zeros(SCENES, 2, device=device),
        phrases=phrases,
        target=(torch.rand(maps, generator=generator) < 0.01).to(torch.uint8).to(device),
        known=torch.ones(maps, dtype=torch.uint8, device=device),
        word=torch.zeros(SCENES, WORDS, dtype=torch.long, device=device),
    )

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device)):
            loss = task.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def fastest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of three runs, after one that warms up."""
    best = float("inf")
    for n in range(1 + REPEATS):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if n:
            best = min(best, time.perf_counter() - began)
    return round(best, 4)


class _Quiet(AlignmentTask):
    """Logs nothing: there is no trainer."""

    def log(self, *_: Any, **__: Any) -> None:
        """Logs nothing."""
