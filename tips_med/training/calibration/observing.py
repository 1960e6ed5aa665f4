"""What a model makes of scans whose truth is known: painted ones, and those of a manifest."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ConfigError, QueryError
from tips_med.geometry import CONNECTIVITY_18, voxel_volume_mm3
from tips_med.grounding.encoding import Adapters, encode_slabs
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.ground import (
    MIN_VOLUME_ML,
    Assessment,
    adapters_of,
    assess,
    encode,
    parse_query,
    query_term,
)
from tips_med.grounding.maps import calibration_key
from tips_med.manifest import Row, read_mask
from tips_med.model import GroundingModel
from tips_med.query import Query, Side
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.slabs import slabs_of
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.language import PhraseSlots, describe
from tips_med.synthesis.scene import Scene, SceneSpec, make_scene
from tips_med.training.questions import answer_mask

log = logging.getLogger(__name__)

THRESHOLDS = (0.3, 0.4, 0.5, 0.65, 0.8)
"""Where a map may be cut. Lower, painted findings gained a little more Dice, real ones that were outlined nothing."""


@dataclass(frozen=True)
class Component:
    """A connected part of a map cut at a threshold.

    Attributes:
        threshold: Threshold of the map's probability, 0 to 1.
        evidence: Highest evidence (logit).
        ml: Volume in ml.
        in_truth_ml: Volume in ml that overlaps the truth.
    """

    threshold: float
    evidence: float
    ml: float
    in_truth_ml: float


@dataclass(frozen=True)
class Observation:
    """One query to one scan.

    Attributes:
        scene: Number of the painted scan; of the row, for real ones.
        finding: Queried finding.
        side: Queried side.
        there: Whether the finding is there.
        evidence: Evidence of the map (logit).
        truth_ml: True volume in ml.
        mask_ml: Volume in ml of the map above 0.5.
        dice: Dice of the map above 0.5 with the truth; 1 when both are empty.
        hit: Whether the peak lies in the truth.
        truth_pieces: Number of connected components of the truth.
        components: Components of the map at every one of ``THRESHOLDS``, highest evidence first; none where nothing is
            there.
        patient: Patient of a real scan; empty for a painted one.
        outlined: Whether the truth has an outline, so that masks and peaks can be judged.
        dices: Dice of the whole map at every one of ``THRESHOLDS``, of a real one on the scan's own grid; none where
            nothing is there.
    """

    scene: int
    finding: str
    side: str | None
    there: bool
    evidence: float
    truth_ml: float
    mask_ml: float
    dice: float
    hit: bool
    truth_components: int = 0
    components: tuple[Component, ...] = ()
    patient: str = ""
    outlined: bool = True
    dices: tuple[float, ...] = ()


def study_of(scene: Scene, model: GroundingModel, adapters: Adapters = "all") -> EncodedStudy:
    """Encodes a scene as if it were a scan; for questions to adapters that are not named it cannot be used."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
    affine[1, 3], affine[0, 3] = scene.offset_mm
    scan = Scan(scene.volume_hu, affine, "CT", "HU")
    return encode_slabs(scan, slabs_of(scene.volume_hu, affine, model.image.slab_spec), model, adapters=adapters)


def observe(
    model: GroundingModel,
    anatomies: Sequence[Anatomy],
    scenes: SceneSpec,
    numbers: Iterable[int],
    seed: int,
    held_out: bool = False,
) -> Iterator[Observation]:
    """Queries whole painted scans for every finding.

    What is there is queried on either side and on none in particular, what is not there in one of these ways.

    Args:
        model: Model to calibrate.
        anatomies: Anatomies with labelled lungs, none of them trained on; taken in turn.
        scenes: Specification of scenes; ``shape`` must be None.
        numbers: Numbers of the scans, 0 or more; each scan depends on its number alone.
        seed: Random seed (integer, 0 or more).
        held_out: Use the held-out synonyms.
    """
    for number in numbers:
        scene, rng = paint_numbered(anatomies, scenes, number, seed)
        yield from observe_scene(model, scene, number, rng, held_out)


def paint_numbered(
    anatomies: Sequence[Anatomy], scenes: SceneSpec, number: int, seed: int
) -> tuple[Scene, np.random.Generator]:
    """The painted scan of a number, and the random generator of the questions to it.

    Args:
        anatomies: Anatomies with labelled lungs, taken in turn.
        scenes: Specification of scenes; ``shape`` must be None.
        number: Number of the scan, 0 or more; it depends on its number alone.
        seed: Random seed (integer, 0 or more).
    """
    rng = np.random.default_rng([seed, number])
    return make_scene(anatomies[number % len(anatomies)], scenes, rng, scenes.in_turn(number)), rng


def observe_scene(
    model: GroundingModel, scene: Scene, number: int, rng: np.random.Generator, held_out: bool = False
) -> Iterator[Observation]:
    """Queries one painted scan for every finding, see ``observe``.

    Args:
        model: Model to measure.
        scene: Painted scan.
        number: Its number.
        rng: Random generator of the questions and their wording.
        held_out: Use the held-out synonyms.
    """
    lexicon = model.lexicon
    findings = [lexicon.parse(lexicon.term(finding).name) for finding in model.card.findings]
    study = study_of(scene, model, adapters_of(findings, model))
    ml = voxel_volume_mm3(study.scan.lps_from_kji) / 1000
    for finding in model.card.findings:
        sides: tuple[Side | None, ...] = (None, "left", "right")
        if not scene.where(finding).any():
            sides = (sides[int(rng.integers(3))],)
        for side in sides:
            slots = PhraseSlots(finding=finding, side=side)
            text = describe(slots, rng, lexicon, held_out=held_out)
            query = lexicon.parse(text, as_written=held_out)
            heat = assess(study, query, model).heat
            target, unknown = answer_mask(scene, slots)
            yield measure(number, finding, side, heat, target, unknown, ml)


def observe_manifest(
    model: GroundingModel, rows: Sequence[Row], progress: Callable[[int, int], None] | None = None
) -> Iterator[Observation]:
    """Queries real scans for what a manifest marks present or absent; each scan is encoded once.

    Rows that are neither, and those that the model was not trained to answer, are left out. A chest that was not seen
    whole is no example of a finding that is not there.

    Args:
        model: Model to calibrate.
        rows: Rows of a manifest.
        progress: Called with (scans done, total scans).
    """
    by_scan: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        by_scan[row.scan].append(row)
    lexicon = model.lexicon
    for done, (path, own) in enumerate(by_scan.items(), start=1):
        asked: list[tuple[Row, Query]] = []
        for row in own:
            try:
                asked.append((row, parse_query(lexicon.parse(row.phrase), model)))
            except QueryError as error:
                log.warning("line %d left out: %s", row.line, error)
        adapters = adapters_of([query for _, query in asked], model)
        study = encode(read_scan(path), model, adapters=adapters) if asked else None
        for row, query in asked:
            assert study is not None
            label = row.resolved(query.negated)
            found = assess(study, query, model)
            unseen = found.thorax is not None and not found.regions["searched"].coverage.whole
            if label == "unknown" or (label == "absent" and unseen):
                continue
            side = query.side if query.side in ("left", "right") else None
            truth = None if row.mask is None else read_mask(row.mask, study.scan, row.part)
            yield _measure_real(row, _key(query), side, label == "present", found, truth, study.scan)
        if progress:
            progress(done, len(by_scan))


def _key(query: Query) -> str:
    """What the calibration of a query's term is stored under."""
    return calibration_key(query, query.finding) if query.finding else query_term(query)


def _measure_real(
    row: Row,
    term: str,
    side: str | None,
    there: bool,
    found: Assessment,
    truth: np.ndarray | None,
    scan: Scan,
) -> Observation:
    """The observation of a map for a row of a manifest, on the grid of the map."""
    if truth is None:
        return Observation(
            row.line, term, side, there, found.logit, 0.0, 0.0, 0.0, False, patient=row.patient_key, outlined=False
        )
    slab, y, x = found.heat.shape
    cover = resample(truth.astype(np.float32), scan.lps_from_kji, found.lps_from_heat, (slab, y, x))
    ml = voxel_volume_mm3(found.lps_from_heat) / 1000
    unknown = np.isnan(found.heat)
    ignored = np.zeros(truth.shape, bool)
    if row.ignore is not None:
        ignored = read_mask(row.ignore, scan, row.ignore_part)
        beside = resample(ignored.astype(np.float32), scan.lps_from_kji, found.lps_from_heat, (slab, y, x))
        unknown |= np.nan_to_num(beside) >= 0.5
    target = (np.nan_to_num(cover) >= 0.5) & ~unknown
    seen = measure(row.line, term, side, found.heat, target, unknown, ml)
    # A rib is thinner than a cell of the map: where that is cut best shows on the scan's own grid, as in an answer.
    heat = np.nan_to_num(resample(np.nan_to_num(found.heat), found.lps_from_heat, scan.lps_from_kji, scan.shape))
    heat[ignored], truth = 0, truth & ~ignored
    dices = tuple(_dice(heat >= threshold, truth) for threshold in THRESHOLDS) if seen.there and truth.any() else ()
    return replace(seen, there=there, evidence=found.logit, patient=row.patient_key, dices=dices)


def measure(
    scene: int, finding: str, side: str | None, heat: np.ndarray, target: np.ndarray, unknown: np.ndarray, ml: float
) -> Observation:
    """The observation of a map for one query of a scene.

    Args:
        scene: Number of the scan.
        finding: Queried finding.
        side: Queried side.
        heat: Probability, [slab y x].
        target: True mask, bool [slab y x].
        unknown: Mask of cells with unknown truth, bool [slab y x]: nothing counts as marked there.
        ml: Volume of a cell in ml.
    """
    heat = np.where(unknown, 0, heat)
    logits = evidence_map(heat)
    peak = np.unravel_index(int(logits.argmax()), logits.shape)
    mask = heat >= 0.5
    total = int(mask.sum()) + int(target.sum())
    there = bool(target.sum() * ml >= 0.03)
    return Observation(
        scene=scene,
        finding=finding,
        side=side,
        there=there,
        evidence=float(logits[peak]),
        truth_ml=float(target.sum() * ml),
        mask_ml=float(mask.sum() * ml),
        dice=float(2 * (mask & target).sum() / total) if total else 1.0,
        hit=bool(target[peak]),
        truth_components=int(ndimage.label(target, CONNECTIVITY_18)[1]) if there else 0,  # type: ignore[index]
        components=tuple(_components(heat, logits, target, ml)) if there else (),
        dices=tuple(_dice(heat >= threshold, target) for threshold in THRESHOLDS) if there else (),
    )


def _dice(mask: np.ndarray, target: np.ndarray) -> float:
    return float(2 * (mask & target).sum() / (int(mask.sum()) + int(target.sum())))


def _components(
    heat: np.ndarray, logits: np.ndarray, target: np.ndarray, ml: float, max_components: int = 20
) -> Iterator[Component]:
    hot = np.argwhere(heat >= min(THRESHOLDS))
    if not len(hot):
        return
    box = tuple(slice(low, high + 1) for low, high in zip(hot.min(axis=0), hot.max(axis=0)))
    for threshold in THRESHOLDS:
        labels, count = ndimage.label(heat[box] >= threshold, CONNECTIVITY_18)  # type: ignore[misc]
        where = labels > 0
        number = labels[where].astype(np.intp) - 1
        volume_ml = ml * np.bincount(number, minlength=count)
        right_ml = ml * np.bincount(number, weights=target[box][where], minlength=count)
        surest = np.full(count, -np.inf)
        np.maximum.at(surest, number, logits[box][where])
        large = np.flatnonzero(volume_ml >= MIN_VOLUME_ML)
        for n in large[np.argsort(-surest[large])][:max_components]:
            yield Component(threshold, float(surest[n]), float(volume_ml[n]), float(right_ml[n]))


def as_rows(observations: Sequence[Observation]) -> list[dict[str, object]]:
    """Plain dictionaries, for JSON."""
    return [asdict(o) for o in observations]


def read_observations(path: Path) -> tuple[int, list[Observation]]:
    """The number of scans and the observations that ``calibrate`` wrote beside the weights.

    Raises:
        ConfigError: The file is something else.
    """
    try:
        content = json.loads(path.read_text())
        rows = [
            {
                **row,
                "components": tuple(Component(**one) for one in row["components"]),
                "dices": tuple(row.get("dices", ())),
            }
            for row in content["observations"]
        ]
        return int(content["scans"]), [Observation(**row) for row in rows]
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", path=path) from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "holds no observations", path=path, expected="the .json that calibrate wrote beside its weights"
        ) from error
