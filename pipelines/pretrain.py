"""Trains the compact model on findings painted into real scans."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from tips_med.card import ModelCard
from tips_med.encoders.compact import CompactConfig, CompactImageTower, CompactNet
from tips_med.encoders.compact_text import CompactTextConfig, CompactTextTower
from tips_med.errors import ConfigError
from tips_med.model import GroundingModel, load_model
from tips_med.model_files import save_model
from tips_med.query import Lexicon
from tips_med.readers import read_scan
from tips_med.slabs import SlabSpec
from tips_med.synthesis.anatomy import Anatomy, make_anatomy
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec
from tips_med.training.fitting import precision_of
from tips_med.training.optimizer import OptimizerConfig
from tips_med.training.outlines import outline_lungs
from tips_med.training.painted import PaintedScenes
from tips_med.training.questions import STRUCTURES
from tips_med.training.task import AlignmentTask

log = logging.getLogger(__name__)

Sphere = tuple[float, float, float, float]
"""Centre x, y, z in LPS mm, and radius in mm."""


@dataclass(frozen=True)
class TrainingCase:
    """One scan to paint into.

    Attributes:
        name: Name of the anatomy.
        scan: Path of the scan, relative to the root of the data.
        lungs: Path of a label map (1 right, 2 left); None where there is none.
        votes: Path of a map of how many readers outlined a lesion.
        outlined_from: Minimum number of votes of a lesion voxel; from 1 to below this it is disputed.
        disputed: Sphere (x, y, z in LPS mm, radius in mm) around a lesion that nobody outlined.
    """

    name: str
    scan: str
    lungs: str | None = None
    votes: str | None = None
    outlined_from: int = 2
    disputed: Sphere | None = None


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
    margin: int = 0,
    words: int | None = None,
    seen_by_reader: str | None = None,
) -> Path:
    """Trains, or goes on where it stopped, and writes ``model.safetensors`` into ``out``.

    Args:
        data: Root folder of the cases' paths.
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
        start: Weights of the same sizes and words to start from; they also outline the lungs of cases where nobody did.
        ema: Decay of the average of the weights, which is saved.
        question_weights: Relative frequency of queries for each finding; 1 for findings that are not named.
        phantoms: Number of procedural torsos to paint into as well.
        phantom_share: Share of scenes with these, 0 to 1.
        margin: Number of slabs painted beyond either end of a scene, to be its neighbours.
        words: Number of queries a scene with one word as a query of its own; all if left out.
        seen_by_reader: Table of what a reader reported in the scans (presence.csv), relative to the data's root: real
            findings that nobody outlined are not trained on as healthy lung.

    Returns:
        The path of the model.
    """
    image, scenes, optimizer = image or CompactConfig(), scenes or SceneSpec(), optimizer or OptimizerConfig()
    unknown = set(held_out) - {case.name for case in cases}
    if unknown:
        raise ConfigError(f"held out, but not among the cases: {', '.join(sorted(unknown))}")
    earlier = load_model(start) if start is not None else None
    spheres = read_spheres(data / seen_by_reader) if seen_by_reader else {}
    anatomies = [prepare(case, data, out / "anatomies", image, earlier, spheres.get(case.name, ())) for case in cases]
    trained = [anatomy for anatomy in anatomies if anatomy.name not in held_out]
    torsos = [_phantom(number, out / "anatomies", image) for number in range(phantoms)]
    lexicon = Lexicon.load(card.lexicon)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    task = AlignmentTask(image, CompactTextConfig(lexicon.vocabulary), optimizer)
    if earlier is not None:
        begin_with(task, earlier)
    checkpoint = out / "last.ckpt"
    done = _step_of(checkpoint) if checkpoint.exists() else 0
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
    )
    loader = DataLoader(
        scenes_without_end, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    trainer = lightning.Trainer(
        accelerator="auto",
        precision=precision_of("auto", "auto"),  # pyright: ignore[reportArgumentType]
        max_steps=optimizer.steps,
        gradient_clip_val=1.0,
        logger=CSVLogger(out, name="log", version=0),
        log_every_n_steps=20,
        callbacks=[
            EMAWeightAveraging(decay=ema),
            ModelCheckpoint(out, filename="last", every_n_train_steps=every, enable_version_counter=False),
        ],
        enable_model_summary=False,
    )
    trainer.fit(task, loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    digest = hashlib.sha256(b"".join(anatomy.volume_hu.tobytes() for anatomy in trained)).hexdigest()
    used = [anatomy.name for anatomy in (*trained, *torsos)]
    facts = {"steps": optimizer.steps, "seed": seed, "data_sha256": digest, "anatomies": used}
    if earlier is not None:
        facts["start"] = {"weights_sha256": earlier.sha256, **earlier.card.trained}
    model = out / "model.safetensors"
    save_model(model, task.image, task.text, task.head, ModelCard(**{**vars(card), "trained": facts}))
    return model


def begin_with(task: AlignmentTask, model: GroundingModel) -> None:
    """Copies a model's weights into a task; what is new in it changes nothing at first.

    That is: neighbours that the model did not have yet count for nothing, and blocks that it did not have add nothing.

    Raises:
        ConfigError: The model has other sizes or other words.
    """
    if not isinstance(model.image, CompactImageTower) or not isinstance(model.text, CompactTextTower):
        raise ConfigError("only compact models can be started from")
    state = model.image.net.state_dict()
    state["stem.weight"] = _widened(state["stem.weight"], model.image.slab_spec, task.image.config.slabs)
    state = _deepened(state, task.image)
    try:
        task.image.load_state_dict(state)
        task.text.load_state_dict(model.text.net.state_dict())
        task.head.load_state_dict(model.head.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"the weights to start from have other sizes or words ({error})") from error


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


def prepare(
    case: TrainingCase,
    data: Path,
    folder: Path,
    image: CompactConfig,
    outliner: GroundingModel | None = None,
    spheres: Sequence[Sphere] = (),
) -> Anatomy:
    """Brings one case onto the working grid, once.

    A model outlines lungs that nobody has. What lies in the spheres and is not outlined is disputed.
    """
    file = folder / f"{case.name}.safetensors"
    if file.exists():
        return Anatomy.load(file)
    folder.mkdir(parents=True, exist_ok=True)
    scan = read_scan(data / case.scan)
    lungs = _labels(data / case.lungs) if case.lungs else None
    votes = _labels(data / case.votes) if case.votes else np.zeros(scan.shape, np.uint8)
    disputed = (votes > 0) & (votes < case.outlined_from)
    if case.disputed is not None:
        disputed |= _sphere(scan.shape, scan.lps_from_kji, case.disputed)
    for sphere in spheres:
        disputed |= _sphere(scan.shape, scan.lps_from_kji, sphere)
    anatomy = make_anatomy(case.name, scan, image.slabs, lungs, votes >= case.outlined_from, disputed)
    if lungs is None and outliner is not None:
        anatomy = replace(anatomy, lungs=outline_lungs(anatomy, outliner))
    anatomy.save(file)
    return anatomy


def read_spheres(path: Path) -> dict[str, list[Sphere]]:
    """Places where a reader reported something, or was not sure, by case.

    Args:
        path: CSV with the columns case, finding, state, approx_centre_lps_mm ("x y z") and approx_size_mm (a length, or
            several with x between them).

    Returns:
        Spheres of half the largest length and 8 mm more; rows without a centre and diffuse emphysema are left out.
    """
    found: dict[str, list[Sphere]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            centre = row["approx_centre_lps_mm"].split()
            if row["state"] == "absent" or len(centre) != 3 or row["finding"] == "emphysema":
                continue
            sizes = [float(size) for size in row["approx_size_mm"].split("x") if size.strip()] or [15.0]
            x, y, z = (float(c) for c in centre)
            found[row["case"]].append((x, y, z, min(max(sizes) / 2, 40.0) + 8.0))
    return found


def _phantom(seed: int, folder: Path, image: CompactConfig) -> Anatomy:
    """One procedural torso, made once; ``paint`` makes its own of other seeds."""
    file = folder / f"phantom-{seed}.safetensors"
    if not file.exists():
        make_phantom(seed, image.slabs.spacing_mm).save(file)
    return Anatomy.load(file)


def _labels(path: Path) -> np.ndarray:
    return np.nan_to_num(read_scan(path).voxels).round().astype(np.uint8)


def _sphere(shape: tuple[int, int, int], lps_from_kji: np.ndarray, sphere: Sphere) -> np.ndarray:
    k, j, i = np.indices(shape, dtype=np.float32)
    place = np.stack([k, j, i], axis=-1) @ lps_from_kji[:3, :3].T.astype(np.float32) + lps_from_kji[:3, 3]
    return np.linalg.norm(place - np.asarray(sphere[:3]), axis=-1) <= sphere[3]


def _step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"])
