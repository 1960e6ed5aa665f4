"""Where the seconds of a training step go: a clock with parts inside parts, and the two networks that learn."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from tips_med.synthesis import scene
from tips_med.training import crops, painted
from tips_med.training.pace import GIB, gpu_percent
from tips_med.training.studies import PreparedStudy

PAINTING = (
    (scene, "sample_deformed_crop", "cut, zoom, turn, bend"),
    (scene, "_paint", "paint findings"),
    (scene, "acquire", "scan anew"),
    (scene, "limit_view", "scan anew"),
    (painted, "draw_questions", "questions and their masks"),
    (painted, "collate_scenes", "channels and batch"),
)
"""What a worker does for a batch of painted scenes: where it is looked up, and what it is called here."""

CUTTING = (
    (PreparedStudy, "load", "read a prepared study"),
    (crops, "_applied", "cut, mirror, shift"),
    (crops, "collate_crops", "channels and batch"),
)
"""The same for a batch of a manifest's crops."""

WARM_UP_BATCHES = 8

TO_DEVICE, ENCODE, HEADS, BACKWARD, OPTIMIZER = (
    "to the device",
    "encode the slabs",
    "phrases, heads, losses",
    "backward",
    "optimizer and average",
)


class Parts:
    """Seconds of the parts of each step. A part inside another one is not counted in it.

    Args:
        device: Device whose work is waited for before the clock is read.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step, of parts."""
        self.steps.append(defaultdict(float))
        yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of a step."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def enter(self, name: str) -> None:
        """Begins a part; the one around it waits."""
        self._count()
        self._running.append(name)

    def leave(self) -> None:
        """Ends the part that was begun last."""
        self._count()
        self._running.pop()

    @contextmanager
    def around(self, owner: Any, attribute: str, name: str) -> Iterator[None]:
        """Counts every call of a function as a part."""
        whole = getattr(owner, attribute)
        setattr(owner, attribute, self.timed(whole, name))
        try:
            yield
        finally:
            setattr(owner, attribute, whole)

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, with every call of it counted as a part."""

        def called(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return called

    def seconds(self, middle: Callable[[Sequence[float]], float]) -> dict[str, float]:
        """What each part takes in a step: the mean or the median of all steps."""
        names = dict.fromkeys(name for step in self.steps for name in step)
        return {name: middle([step.get(name, 0.0) for step in self.steps]) for name in names}

    def _count(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._running:
            self.steps[-1][self._running[-1]] += now - self._since
        self._since = now


def time_making(
    make: Callable[[int], Any], batches: int, where: Sequence[tuple[Any, str, str]]
) -> tuple[dict[str, float], list[Any]]:
    """Mean seconds of the parts of a batch in one worker, and the batches; some others before them warm up.

    Fields of noise are made once, in the first batches that need them: in a long training they cost nothing.

    Args:
        make: Makes the batch of a step.
        batches: Number of batches.
        where: Functions that are parts of it: ``PAINTING`` or ``CUTTING``.
    """
    for step in range(batches, batches + WARM_UP_BATCHES):
        make(step)
    parts, made = Parts(), []
    with ExitStack() as stack:
        for owner, attribute, name in where:
            stack.enter_context(parts.around(owner, attribute, name))
        for step in range(batches):
            with parts.step(), parts.part("the rest"):
                made.append(make(step))
    return parts.seconds(statistics.fmean), made


def learner(
    task: lightning.LightningModule,
    encode: tuple[nn.Module, str],
    device: torch.device,
    bfloat16: bool,
    ema: float,
    parts: Parts,
) -> Callable[[Any], None]:
    """A step of training as Lightning takes it, by its parts.

    Args:
        task: Task to train, moved to the device.
        encode: The part of it that encodes slabs, and the name of its method.
        device: Device to train on.
        bfloat16: Whether to use mixed precision.
        ema: Decay of the average of the weights.
        parts: Clock of the step's parts.

    Returns:
        A function that takes a batch and learns from it.
    """
    task = task.to(device).train()
    quiet: Any = task
    quiet.log = quiet.log_dict = lambda *_, **__: None  # there is no trainer
    made: Any = task.configure_optimizers()
    optimizer = made["optimizer"]
    average = AveragedModel(task, multi_avg_fn=get_ema_multi_avg_fn(ema))
    owner, method = encode
    setattr(owner, method, parts.timed(getattr(owner, method), ENCODE))

    def learn(batch: Any) -> None:
        with parts.step():
            with parts.part(TO_DEVICE):
                moved = move_data_to_device(batch, device)
            with parts.part(HEADS), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                loss = quiet.training_step(moved, 0)
            with parts.part(BACKWARD):
                loss.backward()
            with parts.part(OPTIMIZER):
                torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                average.update_parameters(task)

    return learn


def scenes_per_second(data: IterableDataset[Any], workers: int, batch: int) -> float:
    """Scenes a second of some painting processes, when all of them have begun."""
    loader = iter(DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=1))
    for _ in range(2 * workers):
        next(loader)
    begun, batches = time.perf_counter(), 6 * workers
    for _ in range(batches):
        next(loader)
    return batch * batches / (time.perf_counter() - begun)


def time_together(
    data: IterableDataset[Any], workers: int, learn: Callable[[Any], None], steps: int, device: torch.device
) -> dict[str, Any]:
    """Workers and device together: the seconds of a step, and what of them there was nothing to learn from."""
    on_gpu = device.type == "cuda"
    loader = iter(DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=4, pin_memory=on_gpu))
    learn(next(loader))
    waited_s, busy, ended = 0.0, [], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            busy.append(gpu_percent())

    watching = threading.Thread(target=watch, daemon=True)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        watching.start()
    begun = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(loader)
        waited_s += time.perf_counter() - asked
        learn(batch)
    took_s = time.perf_counter() - begun
    ended.set()
    found: dict[str, Any] = {"step_s": took_s / steps, "waiting_share": waited_s / took_s, "workers": workers}
    if on_gpu:
        watching.join()
        told = [one for one in busy if one is not None]
        found["gpu_percent"] = statistics.fmean(told) if told else None
        found["gpu_peak_gib"] = torch.cuda.max_memory_allocated(device) / GIB
    return found
