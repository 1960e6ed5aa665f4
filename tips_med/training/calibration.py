"""Thresholds for present, absent and unsure: fitted on whole scans, painted ones and real ones."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize

from tips_med.card import Calibration, ModelCard
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ConfigError, QueryError
from tips_med.geometry import CONNECTIVITY_18, voxel_volume_mm3
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.ground import MIN_VOLUME_ML, Assessment, assess, encode, encode_slabs, parse_query, query_term
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

THRESHOLDS = (0.5, 0.65, 0.8)
"""Where a map may be cut."""

SECONDARY_LOGITS = (None, *np.arange(0.5, 7.1, 0.5).tolist())
"""Evidence that components beside the surest one may have to have."""

MIN_POSITIVES = 6
"""Queries about what is there, below which nothing is fitted about masks and components."""

FOLDS = 3
"""Into how many parts painted scans are divided, each of which is judged by what all else fits."""

REAL_WEIGHT = 10.0
"""How much a real scan counts in a fit beside a painted one, which is only as real as its painter."""

MAX_MISSED_FRACTION, MAX_FALSE_FRACTION = 0.05, 0.15
"""The share of findings that are there that may be called absent, and of those that are not there, present."""


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


def study_of(scene: Scene, model: GroundingModel) -> EncodedStudy:
    """Encodes a scene as if it were a scan."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
    affine[1, 3], affine[0, 3] = scene.offset_mm
    scan = Scan(scene.volume_hu, affine, "CT", "HU")
    return encode_slabs(scan, slabs_of(scene.volume_hu, affine, model.image.slab_spec), model)


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
    lexicon = model.lexicon
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        scene = make_scene(anatomies[number % len(anatomies)], scenes, rng, scenes.in_turn(number))
        study = study_of(scene, model)
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
        study = encode(read_scan(path), model) if asked else None
        for row, query in asked:
            assert study is not None
            label = row.resolved(query.negated)
            found = assess(study, query, model)
            unseen = found.thorax is not None and not found.regions["searched"].coverage.whole
            if label == "unknown" or (label == "absent" and unseen):
                continue
            side = query.side if query.side in ("left", "right") else None
            truth = None if row.mask is None else read_mask(row.mask, study.scan, row.part)
            yield _measure_real(row, query_term(query), side, label == "present", found, truth, study.scan)
        if progress:
            progress(done, len(by_scan))


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
    seen = measure(row.line, term, side, found.heat, np.nan_to_num(cover) >= 0.5, np.isnan(found.heat), ml)
    return replace(seen, there=there, evidence=found.logit, patient=row.patient_key)


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
    )


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


def kept_components(observation: Observation, threshold: float, min_logit: float | None) -> list[Component]:
    """The components of an answer: the surest one, and those that are sure enough to stand beside it."""
    components = [component for component in observation.components if component.threshold == threshold]
    return components[:1] + [one for one in components[1:] if min_logit is None or one.evidence >= min_logit]


def dice_of(observation: Observation, components: Sequence[Component]) -> float:
    """Dice of these components with what is there."""
    total = sum(component.ml for component in components) + observation.truth_ml
    return 2 * sum(component.in_truth_ml for component in components) / total if total else 1.0


def f1_of(observation: Observation, components: Sequence[Component]) -> float:
    """F1 of these components; one is right when half of it is."""
    right = min(
        sum(component.in_truth_ml >= 0.5 * component.ml for component in components), observation.truth_components
    )
    total = len(components) + observation.truth_components
    return 2 * right / total if total else 1.0


def fit_threshold(observations: Sequence[Observation]) -> tuple[float, float | None]:
    """Threshold of maps, and which components to keep: the best mean of Dice and F1, where something is there.

    Returns:
        ``threshold`` and ``min_logit`` of a ``Calibration``; its defaults when there is too little data.
    """
    there = [o for o in observations if o.there and o.outlined]
    if len(there) < MIN_POSITIVES or not any(o.components for o in there):
        return Calibration.threshold, Calibration.min_secondary_logit

    def good(choice: tuple[float, float | None]) -> float:
        return sum(dice_of(o, kept_components(o, *choice)) + f1_of(o, kept_components(o, *choice)) for o in there)

    return max(((threshold, logit) for threshold in THRESHOLDS for logit in SECONDARY_LOGITS), key=good)


def fit_calibration(observations: Sequence[Observation], ridge: float = 0.02) -> Calibration:
    """Platt's sigmoid by maximum likelihood, with his smoothed targets and a slope that is never negative.

    Both classes weigh the same, whatever their numbers: how often a finding is there is the hospital's to know. A real
    scan weighs as much as ``REAL_WEIGHT`` painted ones. An answer is absent below the probability that
    ``MAX_MISSED_FRACTION`` of what is there lies under, and present above the one that ``MAX_FALSE_FRACTION`` of what
    is not there lies over; what lies between is unsure.
    """
    x = np.array([o.evidence for o in observations])
    there = np.array([o.there for o in observations])
    n_there, n_not = int(there.sum()), int((~there).sum())
    if not n_there or not n_not:
        return Calibration()
    target = np.where(there, (n_there + 1) / (n_there + 2), 1 / (n_not + 2))
    weight = np.array([REAL_WEIGHT if o.patient else 1.0 for o in observations])
    weight *= np.where(there, 0.5 / weight[there].sum(), 0.5 / weight[~there].sum())

    def loss(theta: np.ndarray) -> float:
        z = np.exp(theta[0]) * x + theta[1]
        return float((weight * (np.logaddexp(0, z) - target * z)).sum() + ridge * theta[0] ** 2)

    theta = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    fitted = Calibration(slope=float(np.exp(theta[0])), intercept=float(theta[1]))
    missed = fitted.probability(_quantile(x[there], weight[there], MAX_MISSED_FRACTION))
    false = fitted.probability(_quantile(x[~there], weight[~there], 1 - MAX_FALSE_FRACTION))
    threshold, min_secondary_logit = fit_threshold(observations)
    return replace(
        fitted,
        absent_below=min(missed, 0.5),
        present_above=max(false, 0.5, min(missed, 0.5)),
        threshold=threshold,
        min_secondary_logit=min_secondary_logit,
    )


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The value that a share of all weight lies below."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(share, below / weight.sum(), values[order]))


def fit_all(card: ModelCard, observations: Sequence[Observation]) -> dict[str, Calibration]:
    """A calibration for every term that was observed both there and not there, and for the structures."""
    fitted = {}
    for term in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == term]
        if any(o.there for o in own) and not all(o.there for o in own):
            fitted[term] = fit_calibration(own)
    # A structure such as a lung is present whenever its map reaches 0.5.
    for structure in card.structures:
        fitted.setdefault(structure, Calibration())
    return fitted


def summary(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> list[dict[str, object]]:
    """Per finding: how many, AUROC, sensitivity, specificity, what was called what, false volume, Dice and hits.

    ``dice`` is of the whole map at a half, ``answered_dice`` and ``answered_f1`` are of what an answer keeps of it.

    Args:
        observations: Observations of all findings.
        calibration_of: Function that returns the calibration to judge an observation with.
    """
    from torchmetrics.functional.classification import binary_auroc

    rows = []
    for finding in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == finding]
        there = [o for o in own if o.there]
        absent = [o for o in own if not o.there]
        # An absent answer marks nothing, whatever its map.
        marked = [0.0 if is_absent(o, calibration_of(o)) else o.mask_ml for o in absent]
        outlined = [o for o in there if o.outlined]
        answers = [answered_components(o, calibration_of(o)) for o in outlined]
        probability = torch.tensor([o.evidence for o in own], dtype=torch.float64).sigmoid()
        rows.append(
            {
                "finding": finding,
                "present": len(there),
                "absent": len(absent),
                "auroc": float(binary_auroc(probability, torch.tensor([int(o.there) for o in own])))
                if there and absent
                else None,
                "sensitivity": _share(not is_absent(o, calibration_of(o)) for o in there),
                "specificity": _share(is_absent(o, calibration_of(o)) for o in absent),
                "there_called": _called(there, calibration_of),
                "not_there_called": _called(absent, calibration_of),
                "outlined": len(outlined),
                "dice": _mean(o.dice for o in outlined),
                "hit": _share(o.hit for o in outlined),
                "false_ml_median": float(np.median(marked)) if absent else None,
                "false_ml_mean": _mean(marked),
                "answered_dice": _mean(dice_of(o, answer) for o, answer in zip(outlined, answers)),
                "answered_f1": _mean(f1_of(o, answer) for o, answer in zip(outlined, answers)),
            }
        )
    return rows


def _called(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> dict[str, int]:
    """How many answers are present, unsure and absent."""
    count = {"present": 0, "unsure": 0, "absent": 0}
    for observation in observations:
        calibration = calibration_of(observation)
        probability = calibration.probability(observation.evidence)
        state = "present" if probability >= calibration.present_above else "unsure"
        count["absent" if probability < calibration.absent_below else state] += 1
    return count


def is_absent(observation: Observation, calibration: Calibration) -> bool:
    """Whether the answer is "absent"."""
    return calibration.probability(observation.evidence) < calibration.absent_below


def answered_components(observation: Observation, calibration: Calibration) -> list[Component]:
    """The components of the answer: none where it is "absent"."""
    if is_absent(observation, calibration):
        return []
    return kept_components(observation, calibration.threshold, calibration.min_secondary_logit)


@dataclass(frozen=True)
class CalibrationReport:
    """The findings that a model is to answer, with their calibration.

    Attributes:
        calibration: Calibration by term, for answered findings.
        findings: Answered findings.
        rows: Results on painted scans, finding by finding, refused ones among them: each scan judged by what was
            fitted without it.
        real_rows: Results on real scans, each patient judged by what was fitted without that patient.
    """

    calibration: dict[str, Calibration]
    findings: tuple[str, ...]
    rows: list[dict[str, object]]
    real_rows: list[dict[str, object]]


def calibrate_model(
    card: ModelCard,
    observations: Sequence[Observation],
    scans: int,
    findings: Sequence[str] | None = None,
    min_auroc: float = 0.0,
) -> CalibrationReport:
    """Fits on all scans, and reports how each third of the painted ones and each real patient does without itself.

    Args:
        card: Card of the model that was observed.
        observations: Observations on ``scans`` painted scans, and on any number of real ones.
        scans: Number of painted scans.
        findings: Findings that it may answer; all that it was trained on when None.
        min_auroc: Minimum AUROC of a finding, 0 to 1; others are refused.
    """

    def part(observation: Observation) -> str | int:
        return observation.patient or observation.scene * FOLDS // scans

    without = {
        left_out: fit_all(card, [o for o in observations if part(o) != left_out])
        for left_out in dict.fromkeys(part(o) for o in observations)
    }

    def judged_by(observation: Observation) -> Calibration:
        return without[part(observation)].get(observation.finding, Calibration())

    rows = summary([o for o in observations if not o.patient], judged_by)
    real_rows = summary([o for o in observations if o.patient], judged_by)

    def answered(row: dict[str, object]) -> bool:
        auroc = row["auroc"]
        good = min_auroc <= 0 or (isinstance(auroc, float) and auroc >= min_auroc)
        return good and (findings is None or row["finding"] in findings)

    # A finding without a query is neither calibrated nor refused.
    unseen = {finding for finding in card.findings if all(o.finding != finding for o in observations)}
    kept = {row["finding"] for row in (rows or real_rows) if answered(row)} | (unseen if findings is None else set())
    answers = tuple(finding for finding in card.findings if finding in kept)
    refused = set(card.findings) - set(answers)
    fitted = {term: value for term, value in fit_all(card, observations).items() if term not in refused}
    reported = [[{**row, "answered": row["finding"] in kept} for row in each] for each in (rows, real_rows)]
    return CalibrationReport(fitted, answers, reported[0], reported[1])


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
            {**row, "components": tuple(Component(**one) for one in row["components"])}
            for row in content["observations"]
        ]
        return int(content["scans"]), [Observation(**row) for row in rows]
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", path=path) from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "holds no observations", path=path, expected="the .json that calibrate wrote beside its weights"
        ) from error


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None


def _share(truths: Iterable[bool]) -> float | None:
    return _mean(map(float, truths))
