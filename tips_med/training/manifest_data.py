"""A manifest as a LightningDataModule: studies, their statements, and what follows from them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset

from tips_med.manifest import ManifestError, Row, read_manifest
from tips_med.model import GroundingModel
from tips_med.query import Lexicon, Query
from tips_med.training.batches import PhraseBatch
from tips_med.training.crops import DataSpec, StudyCrops
from tips_med.training.distillation import teacher_file, width_of
from tips_med.training.studies import Skipped, StudyHeader, is_whole, prepare_studies, read_study_header

log = logging.getLogger(__name__)


class ManifestData(lightning.LightningDataModule):
    """The splits ``train`` and ``val`` of a manifest.

    Args:
        spec: Manifest and settings of the crops.
        model: Model to train.
        lexicon: Lexicon of the phrases.
        cache: Folder of prepared studies.
        steps: Number of steps of the whole training.
        seed: Random seed (integer, 0 or more).
        start: Number of steps done before, when resuming.
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
        self.teachers: dict[Path, Path] = {}
        self.skipped: list[Skipped] = []
        self._scans: dict[Path, Path] = {}

    def split(self, name: str) -> list[Row]:
        """The rows of one split."""
        return [row for row in self.rows if row.split == name]

    def prepare_data(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Fills the cache; Lightning calls it in one process of a machine.

        Args:
            progress: Called with (scans done, total scans), for each split.

        Raises:
            ManifestError: Nothing is left to train on; or, when strict, what cannot be used.
        """
        if not self.files:
            self._prepare(progress)

    def setup(self, stage: str) -> None:
        """Finds the prepared studies; nothing is read again."""
        del stage
        if not self.files:
            self._prepare()

    def _prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        self.skipped = []
        for name in ("train", "val"):
            rows = self.split(name)
            files, skipped = (
                prepare_studies(rows, self.model, self.lexicon, self.cache, strict=self.spec.strict, progress=progress)
                if rows
                else ([], [])
            )
            self.files[name] = files
            self.skipped += skipped
        if not self.files["train"]:
            raise ManifestError("holds no usable row of the split 'train'", path=self.spec.manifest, code="no-rows")
        headers = {file: read_study_header(file) for file in self.files["train"]}
        self._scans = {file: read_study_header(file).scan for files in self.files.values() for file in files}
        if self.spec.teacher is not None:
            self._find_teachers(self.spec.teacher, {file: one.scan for file, one in headers.items()})
        self._warn_of_weak_pairs(list(headers.values()))

    def damaged(self) -> list[Skipped]:
        """Prepared studies that can no longer be read: the rows that training went on without."""
        found = []
        for name, files in self.files.items():
            for file in files:
                if not is_whole(file):
                    rows = [row for row in self.split(name) if row.scan.resolve() == self._scans[file]]
                    text = f"{file}: was damaged while training, and left out from then on"
                    found += [Skipped(row.line, "cache", text) for row in rows]
        return found

    def _find_teachers(self, folder: Path, scans: dict[Path, Path]) -> None:
        base = self.spec.manifest.parent
        found = {file: teacher_file(folder, scan, base) for file, scan in scans.items()}
        self.teachers = {file: teacher for file, teacher in found.items() if teacher.is_file()}
        lacking = [scans[file] for file in found if file not in self.teachers]
        if lacking and (self.spec.strict or not self.teachers):
            raise ManifestError(
                f"holds no embeddings of {lacking[0]}",
                path=folder,
                remedy="make them with tips-med embed",
                code="teacher",
            )
        if lacking:
            log.warning("%d of %d studies have no teacher: they are not distilled", len(lacking), len(scans))

    def _warn_of_weak_pairs(self, headers: Sequence[StudyHeader]) -> None:
        """What is not learned: sentences larger than a crop, since they are of the whole study; images of elsewhere."""
        weak = [any(s.mask is None and s.label == "present" for s in one.statements) for one in headers]
        codes = Counter(s.unplaced for one in headers for s in one.statements if s.unplaced)
        if codes:
            log.warning(
                "cited images of %d statements are not used: %s",
                codes.total(), ", ".join(f"{code} {count}" for code, count in codes.most_common()),
            )  # fmt: skip
        small = [all(a <= b for a, b in zip(one.shape, self.spec.shape)) for one in headers]
        lost = sum(is_weak and not fits for is_weak, fits in zip(weak, small))
        if lost:
            largest = [max(one.shape[n] for one, is_weak in zip(headers, weak) if is_weak) for n in range(3)]
            log.warning(
                "nothing is learned from the sentences without a mask of %d studies, larger than a crop of %s; "
                "the largest is %s: raise --data.shape, with --optimizer.checkpointing true if memory is short",
                lost, self.spec.shape, tuple(largest),
            )  # fmt: skip

    @property
    def taught(self) -> tuple[Query, ...]:
        """The phrases that the split ``train`` marks present, those with a finding or a structure."""
        labels = [one for file in self.files["train"] for one in read_study_header(file).statements]
        queries = [self.lexicon.parse(text) for text in dict.fromkeys(s.text for s in labels if s.label == "present")]
        return tuple(query for query in queries if query.finding is not None or query.structure is not None)

    @property
    def teacher_width(self) -> int:
        """Embedding size of the teacher; 0 without one."""
        return width_of(next(iter(self.teachers.values()))) if self.teachers else 0

    def train_dataloader(self) -> DataLoader[PhraseBatch]:
        """Batches, from the step that was not done yet."""
        rank, world = self._place()
        return self._loader(
            StudyCrops(
                self.files["train"], self.spec, self.model.image.slab_spec, self.lexicon, self.seed, self.start,
                augment=True, teachers=self.teachers, rank=rank, world=world,
            )
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader[Path] | list[Path]:
        """The prepared studies of the split ``val``, or the first of them, as files; the same in every process."""
        files: Any = self.files["val"][: self.spec.val_studies or None]
        return DataLoader(files, batch_size=None) if files else []

    def _loader(self, crops: Dataset) -> DataLoader[PhraseBatch]:
        return DataLoader(crops, batch_size=None, num_workers=self.spec.workers)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
