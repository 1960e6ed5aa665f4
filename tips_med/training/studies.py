"""Studies of a manifest, brought onto the working grid once and kept: a second epoch reads no DICOM.

Kept as safetensors and not with MONAI's PersistentDataset, whose cache is pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import ndimage

from tips_med.errors import OutputError, TipsMedError
from tips_med.folders import whole_file
from tips_med.grounding.modality import ensure_known_modality
from tips_med.manifest import ManifestError, Row, read_mask
from tips_med.model import GroundingModel
from tips_med.query import Lexicon, Query
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.slabs import BODY_MARGIN, SlabSpec, SlabStack, make_slabs
from tips_med.training.signals import REGION_MARGIN_MM, SliceSpace, place_cited

log = logging.getLogger(__name__)
FORMAT = "tips_med-prepared-4"


@dataclass(frozen=True)
class PhraseLabel:
    """What is known of one phrase in one study; rows with the same phrase are merged.

    Attributes:
        phrase: Phrase in words of the vocabulary.
        text: Text in the manifest, to parse it again.
        label: Label, ``present`` or ``absent``.
        mask: Index of its mask among those of the study; None for a weak pair.
        finding: Finding term of the lexicon; empty for a structure.
        cited: Slices that a report cites for it.
        unplaced: Why cited images were not placed, see ``place_cited``; empty when all were.
        size_mm: Long axis that a report states; None for none.
        count: How many there are by a report; None where it does not count.
        region: Index of its organ among the regions of the study; None for none.
        ignore: Index among the regions of the cells where nobody knows; None for none.
    """

    phrase: str
    text: str
    label: str
    mask: int | None
    finding: str = ""
    cited: tuple[SliceSpace, ...] = ()
    unplaced: str = ""
    size_mm: float | None = None
    count: int | None = None
    region: int | None = None
    ignore: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A row or scan that could not be used, and why."""

    line: int
    code: str
    text: str


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """A study on the working grid.

    Attributes:
        volume_hu: Hounsfield units, [slab y x]; air where the scan measured nothing.
        seen: Mask of measured cells, bool [slab y x].
        covers: Share of each cell that every mask covers, 0 to 255, uint8 [mask slab y x].
        regions: Organs with ``REGION_MARGIN_MM`` around them, and what rows ignore without a margin, 0 or 255, uint8
            [region slab y x].
        offset_mm: Offset of the first pixel from the middle of the body, (y, x) in mm.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
        lps_from_pixel: Maps (slab, y, x, 1) to LPS in mm, to place a teacher's patches.
        scan: Path of the scan.
        statements: Statements of the manifest.
        skipped: Rows that could not be used, reported in every run.
    """

    volume_hu: np.ndarray
    seen: np.ndarray
    covers: np.ndarray
    regions: np.ndarray
    offset_mm: tuple[float, float]
    spacing_mm: tuple[float, float, float]
    lps_from_pixel: np.ndarray
    scan: str
    statements: tuple[PhraseLabel, ...]
    skipped: tuple[Skipped, ...] = ()

    def save(self, path: Path) -> None:
        """Writes it whole or not at all.

        Raises:
            OutputError: It cannot be written there.
        """
        tensors = {
            "volume_hu": torch.from_numpy(np.rint(self.volume_hu).clip(-32000, 32000).astype(np.int16)),
            "seen": torch.from_numpy(self.seen.astype(np.uint8)),
            "covers": torch.from_numpy(self.covers),
            "regions": torch.from_numpy(self.regions),
        }
        about = {
            "offset_mm": self.offset_mm,
            "spacing_mm": self.spacing_mm,
            "lps_from_pixel": self.lps_from_pixel.tolist(),
            "scan": self.scan,
            "statements": [asdict(statement) for statement in self.statements],
            "skipped": [asdict(one) for one in self.skipped],
        }
        try:
            with whole_file(path) as partial:
                save_file(tensors, partial, {"format": FORMAT, "about": json.dumps(about)})
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"cannot be written ({error})", path=path, remedy="make room, or move the cache"
            ) from error

    @classmethod
    def load(cls, path: Path) -> PreparedStudy:
        """Reads what ``save`` wrote.

        Raises:
            ManifestError: The file is damaged.
        """
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["about"])
                arrays = {name: file.get_tensor(name) for name in ("volume_hu", "seen", "covers", "regions")}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ManifestError(
                f"is a damaged part of the cache ({error})", path=path, remedy="delete it", code="cache"
            ) from error
        y, x = about["offset_mm"]
        slab, row, column = about["spacing_mm"]
        return cls(
            arrays["volume_hu"].astype(np.float32),
            arrays["seen"].astype(bool),
            arrays["covers"],
            arrays["regions"],
            (float(y), float(x)),
            (float(slab), float(row), float(column)),
            np.array(about["lps_from_pixel"], dtype=np.float64),
            about["scan"],
            tuple(_label_of(one) for one in about["statements"]),
            tuple(Skipped(**one) for one in about["skipped"]),
        )


def _label_of(values: dict[str, Any]) -> PhraseLabel:
    cited = tuple(SliceSpace(*one) for one in values["cited"])
    return PhraseLabel(**{name: value for name, value in values.items() if name != "cited"}, cited=cited)


@dataclass(frozen=True)
class StudyHeader:
    """The metadata of a prepared study, without its arrays; see PreparedStudy."""

    statements: tuple[PhraseLabel, ...]
    skipped: tuple[Skipped, ...]
    scan: Path
    shape: tuple[int, int, int]


def read_study_header(file: Path) -> StudyHeader:
    """What is known of a prepared study; its arrays are not read.

    Raises:
        ManifestError: The file is damaged.
    """
    try:
        with safe_open(file, "numpy") as opened:
            about = json.loads(opened.metadata()["about"])
            slab, y, x = opened.get_slice("volume_hu").get_shape()
        return StudyHeader(
            tuple(_label_of(one) for one in about["statements"]),
            tuple(Skipped(**one) for one in about["skipped"]),
            Path(about["scan"]),
            (int(slab), int(y), int(x)),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"is a damaged part of the cache ({error})", path=file, code="cache") from error


def prepare_studies(
    rows: Sequence[Row],
    model: GroundingModel,
    lexicon: Lexicon,
    cache: Path,
    *,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Path], list[Skipped]]:
    """Prepares every study of some rows; those that the cache has are not read again.

    Args:
        rows: Rows of a manifest.
        model: Model to train, which gives slabs and modalities.
        lexicon: Lexicon of the phrases.
        cache: Folder of prepared studies.
        strict: Stop at a study or row that cannot be used, instead of leaving it out.
        progress: Called with (scans done, total scans).

    Returns:
        The prepared files, in the order of the manifest, and what was left out.

    Raises:
        TipsMedError: When ``strict``, the error of the first such row; or the cache cannot be written.
    """
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        by_scan[row.scan].append(row)
    files: list[Path] = []
    skipped: list[Skipped] = []
    for done, (scan, own) in enumerate(by_scan.items(), start=1):
        file = cache / f"{_key(scan, own, model.image.slab_spec, lexicon)}.safetensors"
        try:
            if not is_whole(file) or (strict and read_study_header(file).skipped):
                _prepare_one(scan, own, model, lexicon, strict).save(file)
            skipped += read_study_header(file).skipped
            files.append(file)
        except OutputError:
            raise
        except TipsMedError as error:
            if strict:
                raise
            log.warning("left out: %s", error)
            skipped += [Skipped(row.line, error.code, str(error)) for row in own]
        if progress:
            progress(done, len(by_scan))
    return files, skipped


def _prepare_one(
    path: Path, rows: Sequence[Row], model: GroundingModel, lexicon: Lexicon, strict: bool
) -> PreparedStudy:
    scan = ensure_known_modality(read_scan(path), model)
    slabs = make_slabs(scan, model.image.slab_spec, margin=BODY_MARGIN)
    slab, y, x = (int(n) for n in slabs.seen.shape)
    volume = resample(scan.voxels, scan.lps_from_kji, slabs.lps_from_pixel, (slab, y, x))
    volume[np.isnan(volume)] = -1024.0
    covers: dict[str, np.ndarray] = {}
    regions: dict[tuple[str, Path, str | None], np.ndarray] = {}
    labels: dict[str, PhraseLabel] = {}
    skipped = []
    for row in rows:
        try:
            query = lexicon.parse(row.phrase)
            label = row.resolved(query.negated)
            if label == "unknown":
                continue
            if query.phrase in labels and labels[query.phrase].label != label:
                raise ManifestError(f"{row.phrase!r} is marked present and absent", path=path, code="contradiction")
            if row.mask is not None:
                mask = read_mask(row.mask, scan, row.part)
                if bool(mask.any()) != (label == "present"):
                    raise ManifestError(
                        f"the mask contradicts the label {label!r}", path=row.mask, code="mask-and-label"
                    )
                if label == "present":
                    part = _cover(mask, scan, slabs)
                    covers[query.phrase] = np.maximum(covers.get(query.phrase, part), part)
            if row.region is not None and ("region", row.region, row.region_part) not in regions:
                organ = _cover(read_mask(row.region, scan, row.region_part), scan, slabs) > 127
                if not organ.any():
                    raise ManifestError("the region is empty", path=row.region, code="empty-region")
                regions["region", row.region, row.region_part] = _with_margin(organ, slabs.spec)
            if row.ignore is not None and ("ignore", row.ignore, row.ignore_part) not in regions:
                ignored = _cover(read_mask(row.ignore, scan, row.ignore_part), scan, slabs) > 0
                regions["ignore", row.ignore, row.ignore_part] = np.where(ignored, 255, 0).astype(np.uint8)
            found = _label(row, query, label, scan, list(regions))
            labels[query.phrase] = _merged(labels[query.phrase], found) if query.phrase in labels else found
        except TipsMedError as error:
            if strict:
                raise
            log.warning("line %d left out: %s", row.line, error)
            skipped.append(Skipped(row.line, error.code, str(error)))
    order = list(covers)
    statements = tuple(
        replace(one, mask=order.index(phrase) if phrase in covers else None) for phrase, one in labels.items()
    )
    if not statements:
        raise ManifestError("has no usable row", path=path, code="no-rows")
    mm = slabs.spec.spacing_mm
    stacked, organs = (
        np.stack(masks) if masks else np.zeros((0, slab, y, x), np.uint8)
        for masks in ([covers[phrase] for phrase in order], list(regions.values()))
    )
    affine, place = slabs.lps_from_pixel, str(path.resolve())
    y_mm, x_mm = slabs.body.middle_mm
    offset = (float(affine[1, 3]) - y_mm, float(affine[0, 3]) - x_mm)
    seen = slabs.seen.numpy()
    return PreparedStudy(volume, seen, stacked, organs, offset, mm, affine, place, statements, tuple(skipped))


def _cover(mask: np.ndarray, scan: Scan, slabs: SlabStack) -> np.ndarray:
    """How much of each cell of the slabs a mask on the scan's grid covers, 0 to 255, uint8 [slab y x]."""
    slab, y, x = slabs.seen.shape
    cover = resample(mask.astype(np.float32), scan.lps_from_kji, slabs.lps_from_pixel, (slab, y, x))
    return np.rint(np.nan_to_num(cover).clip(0, 1) * 255).astype(np.uint8)


def _with_margin(organ: np.ndarray, spec: SlabSpec) -> np.ndarray:
    """An organ and what is near it, 0 or 255, uint8 [slab y x]."""
    away_mm = np.asarray(ndimage.distance_transform_edt(~organ, spec.spacing_mm))
    return np.where(away_mm <= REGION_MARGIN_MM, 255, 0).astype(np.uint8)


def _label(row: Row, query: Query, label: str, scan: Scan, regions: list[tuple[str, Path, str | None]]) -> PhraseLabel:
    """What one row says."""
    cited, unplaced = place_cited(scan, row.series, row.images)
    return PhraseLabel(
        query.phrase,
        row.phrase,
        label,
        None,
        query.finding.id if query.finding else "",
        cited,
        unplaced,
        row.size_mm,
        row.count,
        regions.index(("region", row.region, row.region_part)) if row.region is not None else None,
        regions.index(("ignore", row.ignore, row.ignore_part)) if row.ignore is not None else None,
    )


def _merged(first: PhraseLabel, other: PhraseLabel) -> PhraseLabel:
    """Two rows of one phrase: all slices that they cite, the longer axis, the larger count."""
    return replace(
        first,
        cited=tuple(dict.fromkeys((*first.cited, *other.cited))),
        unplaced=first.unplaced or other.unplaced,
        size_mm=max((mm for mm in (first.size_mm, other.size_mm) if mm is not None), default=None),
        count=max((n for n in (first.count, other.count) if n is not None), default=None),
        region=first.region if first.region is not None else other.region,
        ignore=first.ignore if first.ignore is not None else other.ignore,
    )


def is_whole(file: Path) -> bool:
    """Whether a prepared study is there and was written to its end."""
    if not file.is_file():
        return False
    try:
        with safe_open(file, "numpy") as opened:
            return opened.metadata().get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def _key(scan: Path, rows: Sequence[Row], spec: SlabSpec, lexicon: Lexicon) -> str:
    """Changes with everything that the prepared study depends on: files by size and time, rows, slabs, words."""
    facts: list[object] = [FORMAT, asdict(spec), lexicon.vocabulary, str(scan.resolve()), _stamp(scan)]
    for row in rows:
        facts.append([row.phrase, row.part, row.label, _stamp(row.mask) if row.mask else None, str(row.mask)])
        facts.append([row.series, row.images, row.size_mm, row.count, row.region_part, str(row.region)])
        facts.append(_stamp(row.region) if row.region else None)
        facts.append([row.ignore_part, str(row.ignore), _stamp(row.ignore)] if row.ignore else None)
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]


def _stamp(path: Path) -> list[object]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    return [(str(file.name), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
