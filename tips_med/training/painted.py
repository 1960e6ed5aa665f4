"""Painted scenes and their questions, without end, as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tips_med.query import Lexicon
from tips_med.slabs import SlabSpec, stack_channels
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.scene import Scene, SceneSpec, make_scene, pick_anatomy
from tips_med.training.questions import Question, draw_questions


@dataclass(eq=False)
class PaintedBatch:
    """Scenes with their questions.

    Attributes:
        pixels: Window-scaled values, [scene slab channel y x].
        offset_mm: Offset of the first pixel from the middle of the body, (y, x) in mm, [scene 2].
        phrases: Phrases of all queries, scene after scene, ``questions`` a scene.
        target: Targets, uint8 [scene map slab y x]; the maps of the phrases, then those of one word of each of the
            first.
        known: 1 where the target counts, the same shape as ``target``.
        word: Index in its phrase of the word of each word map, [scene word]: one map for each of the first questions.
    """

    pixels: Tensor
    offset_mm: Tensor
    phrases: list[str]
    target: Tensor
    known: Tensor
    word: Tensor

    def pin_memory(self) -> PaintedBatch:
        """The batch in memory that a GPU reads while it computes; torch's loader calls it."""
        parts = {name: value.pin_memory() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **parts)


class PaintedScenes(IterableDataset[PaintedBatch]):
    """Batches of painted scenes, deterministic from a seed for a given number of workers.

    Args:
        anatomies: Bodies to paint into.
        scenes: Specification of scenes.
        slabs: Specification of slabs, which gives the channels.
        findings: Terms to query.
        lexicon: Lexicon of the phrases.
        batch: Number of scenes a batch.
        questions: Number of queries a scene.
        seed: Random seed (integer, 0 or more).
        start: Number of batches to skip, for resuming.
        weights: Relative frequency of queries for each finding; 1 for findings that are not named.
        phantoms: Further bodies to paint into.
        phantom_share: Share of scenes with these, 0 to 1.
        margin: Number of slabs painted beyond either end of a scene, which are neighbours and not queried.
        words: Number of queries a scene, taken at random, with one word as a query of its own; all when None.
        structures: Structures to query; the first query of a scene is about one of them.
        lung_bodies: Bodies around the lungs of real people, to paint into as well.
        lung_share: Share of scenes with these, 0 to 1.
    """

    def __init__(
        self,
        anatomies: Sequence[Anatomy],
        scenes: SceneSpec,
        slabs: SlabSpec,
        findings: tuple[str, ...],
        lexicon: Lexicon,
        batch: int = 3,
        questions: int = 8,
        seed: int = 0,
        start: int = 0,
        weights: Mapping[str, float] | None = None,
        phantoms: Sequence[Anatomy] = (),
        phantom_share: float = 0.0,
        margin: int = 0,
        words: int | None = None,
        structures: Sequence[str] = ("lung",),
        lung_bodies: Sequence[Anatomy] = (),
        lung_share: float = 0.0,
    ) -> None:
        if margin and scenes.shape is not None:
            slab, y, x = scenes.shape
            scenes = replace(scenes, shape=(slab + 2 * margin, y, x))
        self.anatomies, self.scenes, self.slabs, self.margin = anatomies, scenes, slabs, margin
        self.findings, self.lexicon = findings, lexicon
        self.batch, self.questions, self.seed, self.start = batch, questions, seed, start
        self.weights, self.phantoms, self.phantom_share = weights, phantoms, phantom_share
        self.lung_bodies, self.lung_share = lung_bodies, lung_share
        self.structures = tuple(structures)
        self.words = questions if words is None else min(words, questions)

    def __iter__(self) -> Iterator[PaintedBatch]:
        worker = get_worker_info()
        step, count = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        step += self.start
        while True:
            yield self.make(step)
            step += count

    def make(self, step: int) -> PaintedBatch:
        """The batch of one step, whatever came before it."""
        rng = np.random.default_rng([self.seed, step])
        made = []
        for _ in range(self.batch):
            scene = make_scene(pick_anatomy(self._bodies(rng), rng), self.scenes, rng)
            questions = draw_questions(
                scene, self.findings, self.lexicon, rng, self.questions, self.weights, self.structures
            )
            if self.words < self.questions:
                questions = [questions[n] for n in rng.permutation(len(questions))]
            made.append((scene, questions))
        return collate_scenes(made, self.slabs, self.words, self.margin)

    def _bodies(self, rng: np.random.Generator) -> Sequence[Anatomy]:
        """The bodies of which one is painted into: scans, procedural torsos, or torsos around real lungs."""
        if not (self.phantoms or self.lung_bodies):
            return self.anatomies
        chance = rng.random()
        if self.phantoms and chance < self.phantom_share:
            return self.phantoms
        return self.lung_bodies if self.lung_bodies and chance >= 1 - self.lung_share else self.anatomies


def collate_scenes(
    made: Sequence[tuple[Scene, list[Question]]], slabs: SlabSpec, asked_words: int, margin: int = 0
) -> PaintedBatch:
    """Puts scenes of one shape, with equally many questions each, into a batch.

    Args:
        made: Scenes with their queries.
        slabs: Specification of slabs.
        asked_words: Number of first queries of each scene with one of their words as a query of its own.
        margin: Number of slabs at either end that only serve as neighbours.
    """
    kept = slice(margin, -margin or None)
    volumes = torch.stack([torch.from_numpy(scene.volume_hu) for scene, _ in made])
    targets, known = [], []
    for scene, questions in made:
        nothing = np.zeros(scene.volume_hu.shape, bool)
        words = [
            (nothing, ~nothing) if q.word_target is None or q.word_unknown is None else (q.word_target, q.word_unknown)
            for q in questions[:asked_words]
        ]
        targets.append(np.stack([q.target[kept] for q in questions] + [target[kept] for target, _ in words]))
        known.append(~np.stack([q.unknown[kept] for q in questions] + [unknown[kept] for _, unknown in words]))
    return PaintedBatch(
        stack_channels(volumes, slabs)[:, kept].contiguous(),
        torch.tensor([scene.offset_mm for scene, _ in made], dtype=torch.float32),
        [question.phrase for _, questions in made for question in questions],
        torch.from_numpy(np.stack(targets).view(np.uint8)),
        torch.from_numpy(np.stack(known).view(np.uint8)),
        torch.tensor([[question.word for question in questions[:asked_words]] for _, questions in made]),
    )
