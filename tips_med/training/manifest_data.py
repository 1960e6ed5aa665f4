"""A manifest as a LightningDataModule: studies, their statements, and what follows from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from tips_med.manifest import OTHER_FINDINGS, ManifestError, Row, other_finding, other_level, other_side, read_manifest
from tips_med.manifest.phrases import is_mirror_safe
from tips_med.model import GroundingModel
from tips_med.query import Lexicon
from tips_med.slabs import SlabSpec, stack_channels
from tips_med.training.studies import PreparedStudy, Skipped, Statement, prepare

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSpec:
    """What to train on, and how it is drawn.

    Attributes:
        manifest: A .csv or .jsonl manifest with the splits ``train`` and, for early stopping, ``val``.
        shape: Slabs, rows and columns of a crop; rows and columns are multiples of 16.
        batch: Crops a step, in each process.
        questions: Phrases asked of a crop.
        mirror: How often a crop is mirrored, with left and right exchanged in its phrases.
        negatives: How often an outlined phrase is asked with one word swapped.
        shift_hu: Standard deviation of a shift of all values.
        strict: Stop at what cannot be used instead of leaving it out.
        workers: Processes that draw.
    """

    manifest: Path
    shape: tuple[int, int, int] = (16, 160, 160)
    batch: int = 2
    questions: int = 6
    mirror: float = 0.5
    negatives: float = 0.5
    shift_hu: float = 15.0
    strict: bool = False
    workers: int = 0


@dataclass(eq=False)
class PhraseBatch:
    """Crops with their phrases.

    Attributes:
        pixels: [crop slab channel y x].
        offset_mm: Of the first pixel from the middle of the body, (y, x), [crop 2].
        phrases: Crop after crop, equally many each; padded with the crop's last one.
        target: How much of a cell is what the phrase names, 0 to 1, [crop phrase slab y x].
        known: 1 where the target counts, likewise.
        presence: Of weak pairs 1 (present), of all others NaN, [crop phrase].
        word: Of every phrase a word that names its finding or structure, [crop phrase].
        used: 1 for phrases, 0 for padding, [crop phrase].
    """

    pixels: Tensor
    offset_mm: Tensor
    phrases: list[str]
    target: Tensor
    known: Tensor
    presence: Tensor
    word: Tensor
    used: Tensor


@dataclass(frozen=True, eq=False)
class Asked:
    """One phrase of a crop; see PhraseBatch."""

    phrase: str
    target: np.ndarray
    known: np.ndarray
    presence: float
    word: int


class StudyCrops(IterableDataset[PhraseBatch]):
    """Batches of crops, deterministic from a seed: the n-th crop is the same in any number of processes.

    Args:
        files: Prepared studies.
        spec: How they are drawn.
        slabs: How slabs are cut.
        lexicon: The language.
        seed: Of everything.
        start: Steps to leave out, for resuming.
        steps: Steps in all; None for no end.
        augment: Mirror, shift and swap; without it the crop lies around an outlined finding, always the same.
        rank: Of this process.
        world: Processes in all; the n-th step has crops n * batch * world and on.
    """

    def __init__(
        self,
        files: Sequence[Path],
        spec: DataSpec,
        slabs: SlabSpec,
        lexicon: Lexicon,
        seed: int = 0,
        start: int = 0,
        steps: int | None = None,
        augment: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.files, self.spec, self.slabs, self.lexicon = list(files), spec, slabs, lexicon
        self.seed, self.start, self.steps, self.augment = seed, start, steps, augment
        self.rank, self.world = rank, world
        self._mirrored: dict[str, str | None] = {}

    def __iter__(self) -> Iterator[PhraseBatch]:
        worker = get_worker_info()
        step, stride = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        step += self.start
        while self.steps is None or step < self.steps:
            yield self.make(step)
            step += stride

    def make(self, step: int) -> PhraseBatch:
        """The batch of one step, whatever came before it."""
        first = (step * self.world + self.rank) * self.spec.batch
        return collate([self.crop(first + n) for n in range(self.spec.batch)], self.slabs, self.spec.questions)

    def crop(self, number: int) -> tuple[np.ndarray, tuple[float, float], list[Asked]]:
        """The n-th crop: its volume in HU, its offset in mm, its phrases."""
        rng = np.random.default_rng([self.seed, number])
        study = self._study(number)
        mirrored = self.augment and rng.random() < self.spec.mirror
        if mirrored and (found := self._mirror(study)) is not None:
            study = found
        box = _box(study, self.spec.shape, rng if self.augment else None)
        volume, inside = _cut(study.volume_hu, box, -1024.0), _cut(study.seen, box, False)
        whole = all(b.start <= 0 and b.stop >= n for b, n in zip(box, study.seen.shape))
        asked = self._asked(study, box, inside, whole, rng)
        if self.augment:
            volume = volume + np.float32(rng.normal(0, self.spec.shift_hu))
        y, x = (study.offset_mm[n] + box[n + 1].start * study.spacing_mm[n + 1] for n in (0, 1))
        return volume, (y, x), asked

    def _study(self, number: int) -> PreparedStudy:
        """Studies in turn, in an order that every round shuffles; a damaged one is replaced by the next."""
        turn, place = divmod(number, len(self.files))
        order = np.random.default_rng([self.seed, 1, turn]).permutation(len(self.files))
        for offset in range(len(self.files)):
            file = self.files[order[(place + offset) % len(self.files)]] if self.augment else self.files[place]
            try:
                return PreparedStudy.load(file)
            except ManifestError as error:
                if self.spec.strict or not self.augment:
                    raise
                log.warning("left out of this step: %s", error)
        raise ManifestError("no prepared study can be read", path=self.files[0].parent, code="cache")

    def _mirror(self, study: PreparedStudy) -> PreparedStudy | None:
        """Left and right exchanged, in image, masks and phrases; None where a phrase has no mirror image."""
        statements = []
        for one in study.statements:
            if one.phrase not in self._mirrored:
                query = self.lexicon.parse(one.text)
                safe = is_mirror_safe(query)
                self._mirrored[one.phrase] = one.phrase if safe else other_side(query, self.lexicon)
            phrase = self._mirrored[one.phrase]
            if phrase is None:
                return None
            statements.append(Statement(phrase, phrase, one.label, one.mask))
        last = study.offset_mm[1] + (study.volume_hu.shape[2] - 1) * study.spacing_mm[2]
        return PreparedStudy(
            study.volume_hu[..., ::-1],
            study.seen[..., ::-1],
            study.covers[..., ::-1],
            (study.offset_mm[0], -last),
            study.spacing_mm,
            tuple(statements),
        )

    def _asked(
        self, study: PreparedStudy, box: tuple[slice, ...], inside: np.ndarray, whole: bool, rng: np.random.Generator
    ) -> list[Asked]:
        nothing = np.zeros(inside.shape, np.float32)
        seen = inside.astype(np.float32)
        found: list[Asked] = []
        swapped: list[Asked] = []
        for one in study.statements:
            word = self._word(one.phrase)
            if one.mask is not None:
                target = _cut(study.covers[one.mask], box, 0).astype(np.float32) / 255
                found.append(Asked(one.phrase, target, seen, np.nan, word))
                if self.augment and rng.random() < self.spec.negatives and (wrong := self._swap(one, rng)) is not None:
                    # Not true of what the right phrase names; of the rest of the body nobody said anything.
                    marked = (target > 0.5).astype(np.float32)
                    if marked.any():
                        swapped.append(Asked(wrong, nothing, marked, np.nan, self._word(wrong)))
            elif one.label == "absent":
                found.append(Asked(one.phrase, nothing, seen, np.nan, word))
            elif whole:
                # A sentence of a report is of the whole study: a crop may not hold what it speaks of.
                found.append(Asked(one.phrase, nothing, nothing, 1.0, word))
        if self.augment:
            found = [found[n] for n in rng.permutation(len(found))]
            found.sort(key=lambda asked: -float(asked.target.any()))
        if not found:  # of weak pairs only, in a crop that may not hold what they speak of: nothing to learn here
            one = study.statements[0]
            found.append(Asked(one.phrase, nothing, nothing, np.nan, self._word(one.phrase)))
        keep = max(1, self.spec.questions - len(swapped))
        return (found[:keep] + swapped)[: self.spec.questions]

    def _swap(self, one: Statement, rng: np.random.Generator) -> str | None:
        query = self.lexicon.parse(one.text)
        ways: list[Callable[[], str | None]] = [
            lambda: other_side(query, self.lexicon),
            lambda: other_level(query, self.lexicon),
        ]
        if query.finding is not None and query.finding.id in OTHER_FINDINGS:
            other = OTHER_FINDINGS[query.finding.id]
            ways.append(lambda: other_finding(query, other, self.lexicon))
        possible = [phrase for way in ways if (phrase := way()) is not None]
        return possible[int(rng.integers(len(possible)))] if possible else None

    def _word(self, phrase: str) -> int:
        """The first word that names the finding, or else the structure."""
        query = self.lexicon.parse(phrase)
        for role in ("finding", "structure"):
            for n, word in enumerate(query.words):
                if query.spans[word.span].role == role:
                    return n
        return 0


class ManifestData(lightning.LightningDataModule):
    """The splits ``train`` and ``val`` of a manifest.

    Args:
        spec: What to train on.
        model: That is to be trained.
        lexicon: Of the phrases.
        cache: Folder of prepared studies.
        steps: Of the whole training.
        seed: Of everything.
        start: Steps done before, when resuming.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: GroundingModel,
        lexicon: Lexicon,
        cache: Path,
        steps: int,
        seed: int = 0,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.spec, self.model, self.lexicon, self.cache = spec, model, lexicon, cache
        self.steps, self.seed, self.start = steps, seed, start
        self.rows = read_manifest(spec.manifest)
        self.files: dict[str, list[Path]] = {}
        self.skipped: list[Skipped] = []

    def split(self, name: str) -> list[Row]:
        """The rows of one split."""
        return [row for row in self.rows if row.split == name]

    def prepare_data(self) -> None:
        """Fills the cache; Lightning calls it in one process of a machine."""
        if not self.files:
            self._prepare()

    def setup(self, stage: str) -> None:
        """Finds the prepared studies; nothing is read again."""
        del stage
        if not self.files:
            self._prepare()

    def _prepare(self) -> None:
        self.skipped = []
        for name in ("train", "val"):
            rows = self.split(name)
            files, skipped = (
                prepare(rows, self.model, self.lexicon, self.cache, strict=self.spec.strict) if rows else ([], [])
            )
            self.files[name] = files
            self.skipped += skipped
        if not self.files["train"]:
            raise ManifestError("holds no usable row of the split 'train'", path=self.spec.manifest, code="no-rows")

    def train_dataloader(self) -> DataLoader[PhraseBatch]:
        """Batches, from the step that was not done yet."""
        rank, world = self._place()
        return self._loader(
            StudyCrops(
                self.files["train"], self.spec, self.model.image.slab_spec, self.lexicon, self.seed, self.start,
                augment=True, rank=rank, world=world,
            )
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader[PhraseBatch] | list[PhraseBatch]:
        """Every study of the split once, around what is outlined in it; the same in every process."""
        files = self.files["val"]
        if not files:
            return []
        spec = DataSpec(**{**vars(self.spec), "batch": 1})
        slabs = self.model.image.slab_spec
        return self._loader(StudyCrops(files, spec, slabs, self.lexicon, self.seed, steps=len(files), augment=False))

    def _loader(self, crops: Dataset) -> DataLoader[PhraseBatch]:
        return DataLoader(crops, batch_size=None, num_workers=self.spec.workers)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


def collate(
    crops: Sequence[tuple[np.ndarray, tuple[float, float], list[Asked]]], slabs: SlabSpec, questions: int
) -> PhraseBatch:
    """Puts crops of one shape together; each has at least one phrase, and gets ``questions`` by repeating the last."""
    filled = [asked + [asked[-1]] * (questions - len(asked)) for _, _, asked in crops]
    return PhraseBatch(
        pixels=stack_channels(torch.stack([torch.from_numpy(np.ascontiguousarray(v)) for v, _, _ in crops]), slabs),
        offset_mm=torch.tensor([offset for _, offset, _ in crops], dtype=torch.float32),
        phrases=[one.phrase for asked in filled for one in asked],
        target=torch.from_numpy(np.stack([np.stack([one.target for one in asked]) for asked in filled])),
        known=torch.from_numpy(np.stack([np.stack([one.known for one in asked]) for asked in filled])),
        presence=torch.tensor([[one.presence for one in asked] for asked in filled], dtype=torch.float32),
        word=torch.tensor([[one.word for one in asked] for asked in filled]),
        used=torch.tensor([[float(n < len(asked)) for n in range(questions)] for _, _, asked in crops]),
    )


def _box(study: PreparedStudy, shape: tuple[int, int, int], rng: np.random.Generator | None) -> tuple[slice, ...]:
    """Where to cut: around a cell of a mask three times in four, else anywhere; centred where it does not fit."""
    size = study.volume_hu.shape
    outlined = [n for n, cover in enumerate(study.covers) if (cover > 127).any()]
    centre = [n / 2 for n in size]
    if rng is None and outlined:
        centre = list(np.argwhere(study.covers[outlined[0]] > 127).mean(axis=0))
    elif rng is not None and outlined and rng.random() < 0.75:
        cells = np.argwhere(study.covers[outlined[int(rng.integers(len(outlined)))]] > 127)
        centre = [c + rng.uniform(-0.25, 0.25) * s for c, s in zip(cells[int(rng.integers(len(cells)))], shape)]
    elif rng is not None:
        centre = [rng.uniform(0, n) for n in size]
    starts = []
    for c, s, n in zip(centre, shape, size):
        starts.append(int(np.clip(round(c - s / 2), 0, n - s)) if n >= s else -((s - n) // 2))
    return tuple(slice(start, start + s) for start, s in zip(starts, shape))


def _cut(array: np.ndarray, box: tuple[slice, ...], outside: float | int) -> np.ndarray:
    """A part of [slab y x], filled up where the box leaves it."""
    clipped = tuple(slice(max(b.start, 0), min(b.stop, n)) for b, n in zip(box, array.shape))
    part = array[clipped]
    pad = [(c.start - b.start, b.stop - c.stop) for b, c in zip(box, clipped)]
    return np.pad(part, pad, constant_values=outside) if any(sum(p) for p in pad) else part
