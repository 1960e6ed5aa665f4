"""Crops of prepared studies, without end: where they are cut, how they are changed, and their queries.

Cutting and changing is a MONAI ``Compose`` of ``tips_med.transforms``, and of any more that a configuration names.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import ScaleIntensityRanged
from monai.transforms.transform import Transform
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tips_med.errors import ConfigError
from tips_med.geometry import index_from_block
from tips_med.grounding.maps import canonical_phrase
from tips_med.manifest import ManifestError
from tips_med.query import Lexicon
from tips_med.shapes import Affine
from tips_med.slabs import SlabSpec
from tips_med.training.batches import Crop, PhraseBatch, PhraseTarget, collate_crops
from tips_med.training.distillation import read_embeddings, width_of
from tips_med.training.signals import PhraseSignals, cells_in, cells_of_side
from tips_med.training.studies import PhraseLabel, PreparedStudy, is_whole, read_study_header
from tips_med.transforms import CropAroundFindingd, RandCropAroundFindingd, RandFlipSidesd, RandShiftHounsfieldd
from tips_med.transforms.phrases import swapped_phrases
from tips_med.transforms.tensors import EXCHANGED, lps_of, placed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSpec:
    """What to train on, and how it is drawn.

    Attributes:
        manifest: Path of a .csv or .jsonl manifest with the splits ``train`` and, for early stopping, ``val``.
        shape: Number of slabs, rows and columns of a crop; rows and columns are multiples of 16.
        batch: Number of crops a step, in each process.
        questions: Number of phrases of a crop.
        flip_prob: Probability that a crop is mirrored, with left and right exchanged in its phrases, 0 to 1.
        negative_prob: Probability that an outlined phrase is also used with one word swapped, 0 to 1.
        plain_prob: Probability that a phrase without a mask is used as its finding alone ("nodule" for "9 mm nodule
            in the right upper lobe"), which is as true, 0 to 1.
        slice_tolerance_mm: How far off a cited slice may be, along its normal.
        shift_hu: Standard deviation of a shift of all values, in HU.
        strict: Stop at a study or row that cannot be used, instead of leaving it out.
        workers: Number of processes that draw crops; 0 for none.
        val_studies: Maximum number of studies of the split ``val`` that each validation answers; 0 for all.
        teacher: Folder of a teacher's stored embeddings (tips-med embed), to be distilled; None for none.
        transforms: Further MONAI dictionary transforms, for crops of training, after all others: of ``image`` [1 slab
            y x] in HU, ``masks`` [mask slab y x] from 0 to 1, ``regions`` [region slab y x] from 0 to 255, and
            ``seen`` [1 slab y x], bool. They keep the crop's shape. One that mirrors left and right must not be among
            them, for it leaves the phrases as they are.
    """

    manifest: Path
    shape: tuple[int, int, int] = (8, 128, 160)
    batch: int = 2
    questions: int = 6
    flip_prob: float = 0.5
    negative_prob: float = 0.5
    plain_prob: float = 0.5
    slice_tolerance_mm: float = 5.0
    shift_hu: float = 15.0
    strict: bool = False
    workers: int = 0
    val_studies: int = 0
    teacher: Path | None = None
    transforms: list[Transform] = field(default_factory=list)


class StudyCrops(IterableDataset[PhraseBatch]):
    """Batches of crops, deterministic from a seed: the n-th crop is the same in any number of processes.

    Args:
        files: Paths of prepared studies.
        spec: Settings of the crops.
        slabs: Specification of slabs.
        lexicon: Lexicon of the phrases.
        seed: Random seed (integer, 0 or more).
        start: Number of steps to skip, for resuming.
        steps: Total number of steps; None for no end.
        augment: Mirror, shift and swap; without it the crop lies around an outlined finding, always the same.
        teachers: Stored embeddings of a teacher, by prepared study.
        rank: Rank of this process.
        world: Total number of processes; the n-th step has crops n * batch * world and on.
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
        self._told: set[Path] = set()
        self._draw = Compose(_steps(spec, lexicon) if augment else _always(spec), log_stats=False)

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
        middle = [float(study.lps_from_pixel[1 - n, 3]) - study.offset_mm[n] for n in (0, 1)]
        self._draw.set_random_state(int(np.random.SeedSequence([self.seed, number, 2]).generate_state(1)[0]))
        cut = _applied(
            self._draw,
            {
                "image": _tensor(study.volume_hu[None], study),
                "seen": _tensor(study.seen[None], study),
                "masks": _tensor(study.covers, study),
                "regions": _tensor(study.regions, study),
                "phrases": [one.text for one in study.statements],
                "middle_x_mm": middle[1],
                "weights": self._weights(study),
            },
        )
        mirrored = bool(cut["image"].meta.get(EXCHANGED))
        if mirrored:
            pairs = zip(study.statements, cut["phrases"])
            statements = tuple(
                replace(one, phrase=text, text=text, cited=tuple(part.mirrored(middle[1]) for part in one.cited))
                for one, text in pairs
            )
            study = replace(study, statements=statements)
        lps_from_pixel = lps_of(cut["image"])
        if self.augment:
            cut = self._more(cut, number)
        moved = not np.allclose(lps_of(cut["image"]), lps_from_pixel, atol=1e-6)
        volume, inside = (cut[key].as_tensor()[0].numpy() for key in ("image", "seen"))
        masks = cut["masks"].as_tensor().numpy().clip(0, 1)
        whole = all(size >= n for size, n in zip(self.spec.shape, study.seen.shape))
        y, x = (float(lps_from_pixel[1 - n, 3]) - middle[n] for n in (0, 1))
        organs = cut["regions"].as_tensor().numpy() > _HALF
        targets = self._targets(study, masks, inside.astype(bool), whole, rng, (organs, lps_of(cut["image"]), x))
        # A teacher has not encoded the mirrored image, nor a turned one.
        teacher = self._teacher(None if mirrored or moved else self.teachers.get(file), lps_from_pixel)
        return Crop(volume, (y, x), targets, study.statements, whole, teacher)

    @cached_property
    def _further(self) -> Compose:
        return Compose(self.spec.transforms, log_stats=False)

    def _more(self, cut: dict[str, Any], number: int) -> dict[str, Any]:
        """The transforms of the configuration; the phrases and the rest are none of their business."""
        if not self.spec.transforms:
            return cut
        self._further.set_random_state(int(np.random.SeedSequence([self.seed, number, 3]).generate_state(1)[0]))
        keys = _KEYS
        before = {key: tuple(cut[key].shape) for key in keys}
        made = cut | _applied(self._further, {key: cut[key] for key in keys})
        for key in keys:
            if tuple(made[key].shape) != before[key]:
                raise ConfigError(
                    f"the transforms make {key!r} {tuple(made[key].shape)} of {before[key]}",
                    expected="crops that keep their shape",
                    remedy="leave out of data.transforms what cuts, pads or resamples to another size",
                    code="transforms",
                )
        for key in keys[1:]:
            if len(made[key]) and not np.allclose(lps_of(made[key]), lps_of(made["image"]), atol=1e-6):
                raise ConfigError(
                    f"the transforms move the image and not {key!r}",
                    expected="one place for " + ", ".join(keys),
                    remedy=f"add {key!r} to the keys of what moves the image in data.transforms",
                    code="transforms",
                )
        return made

    def _teacher(self, file: Path | None, lps_from_pixel: Affine) -> tuple[Tensor, Tensor] | None:
        """The teacher's patches at the crop's; none of them counts where there are none."""
        if not self.teachers:
            return None
        patch = self.slabs.patch
        shape = (self.spec.shape[0], self.spec.shape[1] // patch, self.spec.shape[2] // patch)
        nothing = torch.zeros(*shape, self._teacher_width), torch.zeros(shape, dtype=torch.bool)
        if file is None:
            return nothing
        try:
            return read_embeddings(file, lps_from_pixel @ index_from_block((1, patch, patch)), shape)
        except ManifestError as error:
            if self.spec.strict:
                raise
            self._tell("not distilled from here on: %s", error)
            return nothing

    @cached_property
    def _teacher_width(self) -> int:
        return width_of(next(iter(self.teachers.values())))

    @cached_property
    def _counts(self) -> Counter[str]:
        """In how many studies each phrase is outlined."""
        headers = [read_study_header(file) for file in self.files if is_whole(file)]
        return Counter(one.phrase for header in headers for one in header.statements if one.mask is not None)

    def _weights(self, study: PreparedStudy) -> list[float]:
        """How often a crop lies around each mask: the more often, the fewer studies have it outlined.

        Where ribs and skin are outlined in every study, an organ of two of them would else hardly be shown.
        """
        phrases = {one.mask: one.phrase for one in study.statements if one.mask is not None}
        return [1 / max(1, self._counts[phrases[n]]) for n in range(len(study.covers))]

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

    def _targets(
        self,
        study: PreparedStudy,
        masks: np.ndarray,
        inside: np.ndarray,
        whole: bool,
        rng: np.random.Generator,
        place: tuple[np.ndarray, Affine, float],
    ) -> list[PhraseTarget]:
        nothing = np.zeros(inside.shape, np.float32)
        seen = inside.astype(np.float32)
        found: list[PhraseTarget] = []
        swapped: list[PhraseTarget] = []
        for one in study.statements:
            word, alone = self._word(one.phrase)
            known = seen if one.ignore is None else seen * ~place[0][one.ignore]
            if one.mask is not None:
                target = masks[one.mask].astype(np.float32, copy=False)
                found.append(PhraseTarget(one.phrase, target, known, np.nan, word, alone))
                if (
                    self.augment
                    and rng.random() < self.spec.negative_prob
                    and (wrong := self._swap(one, rng)) is not None
                ):
                    # Not true of what the right phrase names; the rest of the body is unknown.
                    marked = (target > 0.5).astype(np.float32)
                    if marked.any():
                        swapped.append(PhraseTarget(wrong, nothing, marked, np.nan, *self._word(wrong)))
            elif one.label == "absent":
                found.append(PhraseTarget(one.phrase, nothing, known, np.nan, word, alone))
            elif whole:
                # A sentence of a report is of the whole study: a crop may not hold what it speaks of.
                phrase, signals = one.phrase, self._signals(one, seen, *place)
                if self.augment and rng.random() < self.spec.plain_prob:
                    others = [other for other in study.statements if other.finding == one.finding and other.cited]
                    phrase, signals = self._plain(one.phrase, signals, len(others) > 1)
                word = self._word(phrase)
                found.append(PhraseTarget(phrase, nothing, nothing, 1.0, *word, signals))
        if self.augment:
            found = [found[n] for n in rng.permutation(len(found))]
            found.sort(key=lambda one: -float(one.target.any()))
        if not found:  # of weak pairs only, in a crop that may not hold what they speak of: nothing to learn here
            one = study.statements[0]
            found.append(PhraseTarget(one.phrase, nothing, nothing, np.nan, *self._word(one.phrase)))
        keep = max(1, self.spec.questions - len(swapped))
        return (found[:keep] + swapped)[: self.spec.questions]

    def _signals(
        self, one: PhraseLabel, seen: np.ndarray, organs: np.ndarray, lps_from_pixel: Affine, first_x_mm: float
    ) -> PhraseSignals:
        """What a report says of a phrase, in the cells of a crop."""
        side = self.lexicon.parse(one.phrase).side
        shape = (seen.shape[0], seen.shape[1], seen.shape[2])
        allowed = None
        if side in ("left", "right") or one.region is not None:
            x_mm = first_x_mm + float(lps_from_pixel[0, 2]) * np.arange(shape[2])
            allowed = np.broadcast_to(cells_of_side(side, x_mm), shape)
            if one.region is not None:
                allowed = allowed & organs[one.region]
        return PhraseSignals(
            cells_in(one.cited, lps_from_pixel, shape, self.spec.slice_tolerance_mm) if one.cited else None,
            None if allowed is None else np.ascontiguousarray(allowed),
            None if allowed is None else ~allowed & (seen > 0),
            one.size_mm or float("nan"),
            one.count or 0,
            side == "both",
        )

    def _plain(self, phrase: str, signals: PhraseSignals, several: bool) -> tuple[str, PhraseSignals]:
        """The finding alone. It may be elsewhere, too: what is outside is not said any more, nor where its peak is."""
        query = self.lexicon.parse(phrase)
        if query.finding is None:
            return phrase, signals
        plain = canonical_phrase(query, query.finding)
        return plain, signals if plain == phrase else replace(signals, outside=None, peaks=not several)

    def _swap(self, one: PhraseLabel, rng: np.random.Generator) -> str | None:
        """The phrase with its side, level, attribute, finding or organ swapped."""
        possible = swapped_phrases(self.lexicon.parse(one.text), self.lexicon)
        return possible[int(rng.integers(len(possible)))] if possible else None

    def _word(self, phrase: str) -> tuple[int, bool]:
        """The last word that names the finding, or else the structure; and whether it means all that the phrase means.

        It does not where the phrase means more (the other side may have one, too), nor where a name has several words:
        not every effusion is a pleural one.
        """
        query = self.lexicon.parse(phrase)
        for role in ("finding", "structure"):
            naming = [n for n, word in enumerate(query.words) if query.spans[word.span].role == role]
            if naming:
                others = [span.role for span in query.spans if span.role not in (role, "function", "negation", "hedge")]
                return naming[-1], len(naming) == 1 and not others
        return 0, False


_KEYS = ("image", "seen", "masks", "regions")
_OUTSIDE = (-1024.0, 0.0, 0.0, 0.0)
_HALF = 127  # of a cell: masks are kept as 0 to 255


def _steps(spec: DataSpec, lexicon: Lexicon) -> list[Transform]:
    """How a crop of training is drawn: cut first, for a crop is quicker to mirror than a study."""
    return [
        RandCropAroundFindingd(_KEYS, "masks", spec.shape, _OUTSIDE, _HALF, weights_key="weights"),
        RandFlipSidesd(_KEYS, "phrases", lexicon, about_key="middle_x_mm", prob=spec.flip_prob),
        RandShiftHounsfieldd("image", spec.shift_hu),
        ScaleIntensityRanged("masks", 0, 255, 0.0, 1.0),
    ]


def _always(spec: DataSpec) -> list[Transform]:
    """How a crop of validation is cut: always the same."""
    return [
        CropAroundFindingd(_KEYS, "masks", spec.shape, _OUTSIDE, _HALF),
        ScaleIntensityRanged("masks", 0, 255, 0.0, 1.0),
    ]


def _applied(transform: Compose, data: dict[str, Any]) -> dict[str, Any]:
    """What a transform of dictionaries gives: a dictionary, whatever else ``Compose`` might give."""
    made: Any = transform(data)
    return made


def _tensor(array: np.ndarray, study: PreparedStudy) -> MetaTensor:
    """A part of a study [channel slab y x], at its place."""
    writable = array if array.flags.writeable else array.copy()
    return placed(torch.from_numpy(writable), study.lps_from_pixel, unit="HU")
