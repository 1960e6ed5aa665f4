"""Trains the compact model on findings painted into real scans."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from tips_med.card import ModelCard
from tips_med.encoders.compact import CompactConfig, CompactImageTower, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextNet, CompactTextTower
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel, load_model
from tips_med.model_files import save_model
from tips_med.query import Lexicon
from tips_med.slabs import SlabSpec
from tips_med.synthesis.scene import SceneSpec
from tips_med.training.cases import (
    TrainingCase,
    prepare_cases,
    prepare_lung_bodies,
    prepare_phantom,
    read_spheres,
)
from tips_med.training.fitting import CHECKPOINT, AveragedWeights, precision_of, step_of
from tips_med.training.optimizer import OptimizerConfig
from tips_med.training.pace import PaceLogger, StopInTime
from tips_med.training.painted import PaintedScenes
from tips_med.training.questions import STRUCTURES
from tips_med.training.task import AlignmentTask
from tips_med.training.towers.compact import with_words

log = logging.getLogger(__name__)


def pretrain(
    data: Path,
    out: Path,
    cases: Sequence[TrainingCase],
    card: ModelCard,
    image: CompactConfig | None = None,
    scenes: SceneSpec | None = None,
    optimizer: OptimizerConfig | None = None,
    held_out: Sequence[str] = (),
    batch: int = 3,
    questions: int = 8,
    workers: int = 1,
    seed: int = 0,
    threads: int = 2,
    every: int = 200,
    start: Path | None = None,
    ema: float = 0.998,
    question_weights: dict[str, float] | None = None,
    phantoms: int = 0,
    phantom_share: float = 0.1,
    lung_shapes: str | None = None,
    lung_bodies: int = 10,
    lung_share: float = 0.1,
    margin: int = 0,
    words: int | None = None,
    seen_by_reader: str | None = None,
    accelerator: str = "auto",
    precision: str = "auto",
    max_minutes: float = 0.0,
) -> Path:
    """Trains, or goes on where it stopped, and writes ``model.safetensors`` into ``out``.

    Args:
        data: Root folder of the cases' paths; or a pack of them, of ``python -m benchmarks.training_pack``.
        out: Folder for prepared anatomies, checkpoints, logs and the model.
        cases: Scans to paint into.
        card: Card of the model; calibrate it afterwards.
        image: Sizes of the image tower.
        scenes: Specification of scenes.
        optimizer: Steps, learning rate and weights of the losses.
        held_out: Names of cases that are prepared but never trained on.
        batch: Number of scenes a step.
        questions: Number of queries a scene.
        workers: Number of processes that paint.
        seed: Random seed (integer, 0 or more).
        threads: Number of threads of the training process.
        every: Number of steps between checkpoints.
        start: Weights of the same sizes to start from; they also outline the lungs of cases where nobody did.
        ema: Decay of the average of the weights, which is saved.
        question_weights: Relative frequency of queries for each finding; 1 for findings that are not named.
        phantoms: Number of procedural torsos to paint into as well.
        phantom_share: Share of scenes with these, 0 to 1.
        lung_shapes: Folder with shapes of real lungs, relative to the data's root, around which torsos are built; none
            are where the data lack it. Of a pack, the bodies that were packed are taken.
        lung_bodies: Number of torsos around these lungs.
        lung_share: Share of scenes with these, 0 to 1.
        margin: Number of slabs painted beyond either end of a scene, to be its neighbours.
        words: Number of queries a scene with one word as a query of its own; all if left out.
        seen_by_reader: Table of what a reader reported in the scans (presence.csv), relative to the data's root: real
            findings that nobody outlined are not trained on as healthy lung. Not read beside a pack, which knows it.
        accelerator: Accelerator: ``auto``, ``cpu`` or ``gpu``, of which one is used.
        precision: Precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``; ``auto`` is the second where the machine is
            quick at it.
        max_minutes: Minutes from the start after which training stops with a checkpoint, and with the model as it is
            then; 0 for no limit. The same command goes on.

    Returns:
        The path of the model.
    """
    begun = time.monotonic()
    image, scenes, optimizer = image or CompactConfig(), scenes or SceneSpec(), optimizer or OptimizerConfig()
    unknown = set(held_out) - {case.name for case in cases}
    if unknown:
        raise ConfigError(f"held out, but not among the cases: {', '.join(sorted(unknown))}")
    earlier = load_model(start) if start is not None else None
    spheres = read_spheres(data / seen_by_reader) if seen_by_reader and data.is_dir() else {}
    anatomies = prepare_cases(cases, data, out / "anatomies", image, earlier, spheres, may_lack=held_out)
    trained = [anatomy for anatomy in anatomies if anatomy.name not in held_out]
    torsos = [prepare_phantom(number, out / "anatomies", image) for number in range(phantoms)]
    around = prepare_lung_bodies(lung_shapes, lung_bodies, data, out / "anatomies", image) if lung_shapes else []
    with ThreadPoolExecutor() as pool:  # found here once, and not by every worker again
        list(pool.map(lambda anatomy: anatomy.middle_yx, (*trained, *torsos, *around)))
    lexicon = Lexicon.load(card.lexicon)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    task = AlignmentTask(image, CompactTextConfig(lexicon.vocabulary), optimizer)
    if earlier is not None:
        begin_with(task, earlier)
    checkpoint, done = out / CHECKPOINT, step_of(out)
    scenes_without_end = PaintedScenes(
        trained,
        scenes,
        image.slabs,
        card.findings,
        lexicon,
        batch,
        questions,
        seed,
        start=done,
        weights=question_weights,
        phantoms=torsos,
        phantom_share=phantom_share,
        margin=margin,
        words=words,
        structures=[structure for structure in card.structures if structure in STRUCTURES],
        lung_bodies=around,
        lung_share=lung_share,
    )
    loader = DataLoader(
        scenes_without_end,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=accelerator != "cpu" and torch.cuda.is_available(),
    )
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,  # every other one would learn from the same scenes
        precision=precision_of(precision, accelerator),  # pyright: ignore[reportArgumentType]
        max_steps=optimizer.steps,
        gradient_clip_val=1.0,
        logger=CSVLogger(out, name="log", version=f"from-step-{done}"),  # it would delete those of an earlier run
        log_every_n_steps=20,
        callbacks=[
            AveragedWeights(decay=ema),
            PaceLogger(batch),
            StopInTime(max_minutes, checkpoint, begun),
            ModelCheckpoint(out, filename="last", every_n_train_steps=every, enable_version_counter=False),
        ],
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),  # the log tells enough, and no step waits for a bar
    )
    trainer.fit(task, loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    digest = hashlib.sha256(b"".join(anatomy.volume_hu.tobytes() for anatomy in trained)).hexdigest()
    used = [anatomy.name for anatomy in (*trained, *torsos, *around)]
    facts = {"steps": trainer.global_step, "seed": seed, "data_sha256": digest, "anatomies": used}
    if earlier is not None:
        facts["start"] = {"weights_sha256": earlier.sha256, **earlier.card.trained}
    model = out / "model.safetensors"
    save_model(model, task.image, task.text, task.head, ModelCard(**{**vars(card), "trained": facts}))
    return model


def begin_with(task: AlignmentTask, model: GroundingModel) -> None:
    """Copies a model's weights into a task; what is new in it changes nothing at first.

    That is: neighbours that the model did not have yet count for nothing, and blocks that it did not have add nothing.
    Words keep what was learned of them, wherever they stand in either vocabulary; those that are new begin untaught. Of
    a model with adapters only what lies under them is taken.

    Raises:
        ConfigError: The model has other sizes.
    """
    if not isinstance(model.image, CompactImageTower) or not isinstance(model.text, CompactTextTower):
        raise ConfigError("only compact models can be started from")
    state = model.image.net.state_dict()
    state["stem.weight"] = _widened(state["stem.weight"], model.image.slab_spec, task.image.config.slabs)
    state = _deepened(state, task.image)
    try:
        task.image.load_state_dict(state)
        task.text.load_state_dict(_reworded(model.text.net, task.text))
        task.head.load_state_dict(model.head.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"the weights to start from have other sizes ({error})") from error


def _reworded(before: CompactTextNet, wanted: CompactTextNet) -> dict[str, Tensor]:
    """Weights of a text tower, with its words in the order of another vocabulary."""
    words = with_words(before, wanted.config.vocabulary)
    state = words.state_dict()
    rows = [0, *(words.index[word] for word in wanted.config.vocabulary)]
    return {**state, "embedding.weight": state["embedding.weight"][rows]}


def _widened(weight: Tensor, seen: SlabSpec, wanted: SlabSpec) -> Tensor:
    """The first convolution's weights [out channel y x] for more neighbours than it had; as they are otherwise."""
    more = wanted.neighbours - seen.neighbours
    if more <= 0 or wanted.windows_hu != seen.windows_hu:
        return weight
    return functional.pad(weight.unflatten(1, (len(seen.windows_hu), -1)), (0, 0, 0, 0, more, more)).flatten(1, 2)


def _deepened(state: dict[str, Tensor], net: CompactNet) -> dict[str, Tensor]:
    """Weights for more blocks a level than there were: a block whose last convolution is zero hands its input on."""
    fresh = {name: weight for name, weight in net.state_dict().items() if name.startswith("levels.")}
    new = {
        name: torch.zeros_like(weight) if ".second." in name else weight
        for name, weight in fresh.items()
        if name not in state
    }
    return {**state, **new}
