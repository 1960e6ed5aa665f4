"""Crops of prepared studies, without end: where they are cut, how they are changed, and what is asked of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tips_med.geometry import index_from_block, index_from_crop
from tips_med.manifest import OTHER_FINDINGS, ManifestError, other_finding, other_level, other_side
from tips_med.manifest.phrases import OTHER_STRUCTURES, is_mirror_safe, other_attribute, other_structure
from tips_med.query import Lexicon
from tips_med.slabs import SlabSpec
from tips_med.training.batches import Crop, PhraseBatch, PhraseTarget, collate_crops
from tips_med.training.studies import PhraseLabel, PreparedStudy
from tips_med.training.teacher import read_embeddings, width_of

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
        teacher: Folder of a teacher's stored embeddings (tips-med embed), to be distilled; None for none.
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
    teacher: Path | None = None


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
        teachers: Stored embeddings of a teacher, by prepared study.
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
        teachers: Mapping[Path, Path] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.files, self.spec, self.slabs, self.lexicon = list(files), spec, slabs, lexicon
        self.seed, self.start, self.steps, self.augment = seed, start, steps, augment
        self.teachers, self.rank, self.world = teachers or {}, rank, world
        self._mirrored: dict[str, str | None] = {}
        self._told: set[Path] = set()

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
        return collate_crops([self.crop(first + n) for n in range(self.spec.batch)], self.slabs, self.spec.questions)

    def crop(self, number: int) -> Crop:
        """The n-th crop."""
        rng = np.random.default_rng([self.seed, number])
        file, study = self._study(number)
        mirrored = self._mirror(study) if self.augment and rng.random() < self.spec.mirror else None
        study = mirrored or study
        box = _box(study, self.spec.shape, rng if self.augment else None)
        volume, inside = _cut(study.volume_hu, box, -1024.0), _cut(study.seen, box, False)
        whole = all(b.start <= 0 and b.stop >= n for b, n in zip(box, study.seen.shape))
        asked = self._asked(study, box, inside, whole, rng)
        if self.augment:
            volume = volume + np.float32(rng.normal(0, self.spec.shift_hu))
        y, x = (study.offset_mm[n] + box[n + 1].start * study.spacing_mm[n + 1] for n in (0, 1))
        teacher = self._teacher(study, None if mirrored else self.teachers.get(file), box)
        return Crop(volume, (y, x), asked, study.statements, whole, teacher)

    def _teacher(self, study: PreparedStudy, file: Path | None, box: tuple[slice, ...]) -> tuple[Tensor, Tensor] | None:
        """The teacher's patches at the crop's; none of them counts where it never saw the scan, or not mirrored."""
        if not self.teachers:
            return None
        patch = self.slabs.patch
        shape = (self.spec.shape[0], self.spec.shape[1] // patch, self.spec.shape[2] // patch)
        nothing = torch.zeros(*shape, self._teacher_width), torch.zeros(shape, dtype=torch.bool)
        if file is None:
            return nothing
        start = (box[0].start, box[1].start, box[2].start)
        lps_from_patch = study.lps_from_pixel @ index_from_crop(start) @ index_from_block((1, patch, patch))
        try:
            return read_embeddings(file, lps_from_patch, shape)
        except ManifestError as error:
            if self.spec.strict:
                raise
            self._tell("not distilled from here on: %s", error)
            return nothing

    @cached_property
    def _teacher_width(self) -> int:
        return width_of(next(iter(self.teachers.values())))

    def _study(self, number: int) -> tuple[Path, PreparedStudy]:
        """Studies in turn, in an order that every round shuffles; a damaged one is replaced by the next."""
        turn, place = divmod(number, len(self.files))
        order = np.random.default_rng([self.seed, 1, turn]).permutation(len(self.files))
        for offset in range(len(self.files)):
            file = self.files[order[(place + offset) % len(self.files)]] if self.augment else self.files[place]
            try:
                return file, PreparedStudy.load(file)
            except ManifestError as error:
                if self.spec.strict or not self.augment:
                    raise
                self._tell("left out from here on: %s", error)
        raise ManifestError("no prepared study can be read", path=self.files[0].parent, code="cache")

    def _tell(self, what: str, error: ManifestError) -> None:
        """Once a file: a damaged one comes up in every round."""
        if error.path is not None and error.path not in self._told:
            self._told.add(error.path)
            log.warning(what, error)

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
            statements.append(replace(one, phrase=phrase, text=phrase))
        last = study.offset_mm[1] + (study.volume_hu.shape[2] - 1) * study.spacing_mm[2]
        return replace(
            study,
            volume_hu=study.volume_hu[..., ::-1],
            seen=study.seen[..., ::-1],
            covers=study.covers[..., ::-1],
            offset_mm=(study.offset_mm[0], -last),
            statements=tuple(statements),
        )

    def _asked(
        self, study: PreparedStudy, box: tuple[slice, ...], inside: np.ndarray, whole: bool, rng: np.random.Generator
    ) -> list[PhraseTarget]:
        nothing = np.zeros(inside.shape, np.float32)
        seen = inside.astype(np.float32)
        found: list[PhraseTarget] = []
        swapped: list[PhraseTarget] = []
        for one in study.statements:
            word, alone = self._word(one.phrase)
            if one.mask is not None:
                target = _cut(study.covers[one.mask], box, 0).astype(np.float32) / 255
                found.append(PhraseTarget(one.phrase, target, seen, np.nan, word, alone))
                if self.augment and rng.random() < self.spec.negatives and (wrong := self._swap(one, rng)) is not None:
                    # Not true of what the right phrase names; of the rest of the body nobody said anything.
                    marked = (target > 0.5).astype(np.float32)
                    if marked.any():
                        swapped.append(PhraseTarget(wrong, nothing, marked, np.nan, *self._word(wrong)))
            elif one.label == "absent":
                found.append(PhraseTarget(one.phrase, nothing, seen, np.nan, word, alone))
            elif whole:
                # A sentence of a report is of the whole study: a crop may not hold what it speaks of.
                found.append(PhraseTarget(one.phrase, nothing, nothing, 1.0, word, alone))
        if self.augment:
            found = [found[n] for n in rng.permutation(len(found))]
            found.sort(key=lambda asked: -float(asked.target.any()))
        if not found:  # of weak pairs only, in a crop that may not hold what they speak of: nothing to learn here
            one = study.statements[0]
            found.append(PhraseTarget(one.phrase, nothing, nothing, np.nan, *self._word(one.phrase)))
        keep = max(1, self.spec.questions - len(swapped))
        return (found[:keep] + swapped)[: self.spec.questions]

    def _swap(self, one: PhraseLabel, rng: np.random.Generator) -> str | None:
        """The phrase with its side, level, attribute, finding or organ swapped."""
        query = self.lexicon.parse(one.text)
        ways: list[Callable[[], str | None]] = [
            lambda: other_side(query, self.lexicon),
            lambda: other_level(query, self.lexicon),
        ]
        ways.append(lambda: other_attribute(query, self.lexicon))
        if query.finding is not None and query.finding.id in OTHER_FINDINGS:
            other = OTHER_FINDINGS[query.finding.id]
            ways.append(lambda: other_finding(query, other, self.lexicon))
        if query.structure is not None and query.structure.id in OTHER_STRUCTURES:
            organ = OTHER_STRUCTURES[query.structure.id]
            ways.append(lambda: other_structure(query, organ, self.lexicon))
        possible = [phrase for way in ways if (phrase := way()) is not None]
        return possible[int(rng.integers(len(possible)))] if possible else None

    def _word(self, phrase: str) -> tuple[int, bool]:
        """The last word that names the finding, or else the structure; and whether it means all that the phrase means.

        It does not where the phrase says more (the other side may have one, too), nor where a name has several words:
        not every effusion is a pleural one.
        """
        query = self.lexicon.parse(phrase)
        for role in ("finding", "structure"):
            naming = [n for n, word in enumerate(query.words) if query.spans[word.span].role == role]
            if naming:
                others = [span.role for span in query.spans if span.role not in (role, "function", "negation", "hedge")]
                return naming[-1], len(naming) == 1 and not others
        return 0, False


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
