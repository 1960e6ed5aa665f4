"""When to say present, absent or unsure: fitted on whole painted scans that were never trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ConfigError
from tips_med.geometry import voxel_volume_mm3
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.ground import LEAST_ML, encode_slabs, lexicon_named, look
from tips_med.grounding.instances import CONNECTIVITY_18
from tips_med.model import Calibration, GroundingModel, ModelCard
from tips_med.query import Side
from tips_med.scan import Scan
from tips_med.slabs import slabs_of
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.language import Slots, describe
from tips_med.synthesis.scene import Scene, SceneSpec, make_scene
from tips_med.training.questions import answer

THRESHOLDS = (0.5, 0.65, 0.8)
"""Where a map may be cut."""

PIECES_FROM = (None, *np.arange(0.5, 7.1, 0.5).tolist())
"""Evidence that pieces beside the surest one may have to have."""

LEAST_TO_CUT = 6
"""Queries about what is there, below which nothing is fitted about masks and pieces."""

PARTS = 3
"""Into how many parts scans are divided, each of which is judged by what the others fit."""


@dataclass(frozen=True)
class Piece:
    """A connected part of a map cut at a threshold.

    Attributes:
        threshold: Of the map's probability.
        evidence: At its highest, in logits.
        ml: Its volume.
        in_truth_ml: How much of it is right.
    """

    threshold: float
    evidence: float
    ml: float
    in_truth_ml: float


@dataclass(frozen=True)
class Observation:
    """One query asked of one painted scan.

    Attributes:
        scene: Number of the scan.
        finding: What was asked for.
        side: Where.
        there: Whether it is there.
        evidence: From the map, in logits.
        truth_ml: How much of it there is.
        mask_ml: Volume of the map at a half.
        dice: Of the map at a half with the truth; 1 when both are empty.
        hit: Whether the peak lies in the truth.
        truth_pieces: Connected parts of what is there.
        pieces: Of the map at every one of ``THRESHOLDS``, the surest first; none where nothing is there.
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
    truth_pieces: int = 0
    pieces: tuple[Piece, ...] = ()


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
    """Asks every finding of whole painted scans.

    What is there is asked for on either side and on none in particular, what is not there in one of these ways.

    Args:
        model: To be calibrated.
        anatomies: With labelled lungs, none of them trained on; taken in turn.
        scenes: How to paint; ``shape`` must be None.
        numbers: Of the scans; what one of them shows does not hang on the others.
        seed: Of everything.
        held_out: Use the synonyms that training never saw.
    """
    lexicon = lexicon_named(model.card.lexicon)
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
                slots = Slots(finding=finding, side=side)
                text = describe(slots, rng, lexicon, held_out=held_out)
                query = lexicon.parse(text, as_written=held_out)
                heat = look(study, query, model).heat
                target, unknown = answer(scene, slots)
                yield measure(number, finding, side, heat, target, unknown, ml)


def measure(
    scene: int, finding: str, side: str | None, heat: np.ndarray, target: np.ndarray, unknown: np.ndarray, ml: float
) -> Observation:
    """What a map says about one question of a scene.

    Args:
        scene: Number of the scan.
        finding: What was asked for.
        side: Where.
        heat: Probability, [slab y x].
        target: Where it is, bool [slab y x].
        unknown: Where nobody knows, bool [slab y x]: nothing counts as marked there.
        ml: Volume of a cell.
    """
    heat = np.where(unknown, 0, heat)
    sure = evidence_map(heat)
    peak = np.unravel_index(int(sure.argmax()), sure.shape)
    mask = heat >= 0.5
    total = int(mask.sum()) + int(target.sum())
    there = bool(target.sum() * ml >= 0.03)
    return Observation(
        scene=scene,
        finding=finding,
        side=side,
        there=there,
        evidence=float(sure[peak]),
        truth_ml=float(target.sum() * ml),
        mask_ml=float(mask.sum() * ml),
        dice=float(2 * (mask & target).sum() / total) if total else 1.0,
        hit=bool(target[peak]),
        truth_pieces=int(ndimage.label(target, CONNECTIVITY_18)[1]) if there else 0,  # type: ignore[index]
        pieces=tuple(_pieces(heat, sure, target, ml)) if there else (),
    )


def _pieces(heat: np.ndarray, sure: np.ndarray, target: np.ndarray, ml: float, most: int = 20) -> Iterator[Piece]:
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
        np.maximum.at(surest, number, sure[box][where])
        large = np.flatnonzero(volume_ml >= LEAST_ML)
        for n in large[np.argsort(-surest[large])][:most]:
            yield Piece(threshold, float(surest[n]), float(volume_ml[n]), float(right_ml[n]))


def kept(observation: Observation, threshold: float, pieces_from: float | None) -> list[Piece]:
    """The pieces of an answer: the surest one, and those that are sure enough to stand beside it."""
    pieces = [piece for piece in observation.pieces if piece.threshold == threshold]
    return pieces[:1] + [one for one in pieces[1:] if pieces_from is None or one.evidence >= pieces_from]


def dice_of(observation: Observation, pieces: Sequence[Piece]) -> float:
    """Dice of these pieces with what is there."""
    total = sum(piece.ml for piece in pieces) + observation.truth_ml
    return 2 * sum(piece.in_truth_ml for piece in pieces) / total if total else 1.0


def f1_of(observation: Observation, pieces: Sequence[Piece]) -> float:
    """F1 of these pieces; one is right when half of it is."""
    right = min(sum(piece.in_truth_ml >= 0.5 * piece.ml for piece in pieces), observation.truth_pieces)
    total = len(pieces) + observation.truth_pieces
    return 2 * right / total if total else 1.0


def cut(observations: Sequence[Observation]) -> tuple[float, float | None]:
    """Where to cut maps, and which pieces to keep: what does best by the mean of Dice and F1, where something is there.

    Returns:
        ``threshold`` and ``pieces_from`` of a ``Calibration``; its defaults when there is too little to go by.
    """
    there = [o for o in observations if o.there]
    if len(there) < LEAST_TO_CUT or not any(o.pieces for o in there):
        return Calibration.threshold, Calibration.pieces_from

    def good(choice: tuple[float, float | None]) -> float:
        return sum(dice_of(o, kept(o, *choice)) + f1_of(o, kept(o, *choice)) for o in there)

    return max(((threshold, least) for threshold in THRESHOLDS for least in PIECES_FROM), key=good)


def fit(observations: Sequence[Observation], ridge: float = 0.02) -> Calibration:
    """Platt's sigmoid by maximum likelihood, with his smoothed targets and a slope that is never negative.

    Both classes weigh the same, whatever their numbers: how often a finding is there is the hospital's to know. From
    where to where an answer is unsure is not fitted: what cannot be told apart stays in the middle.
    """
    x = np.array([o.evidence for o in observations])
    there = np.array([o.there for o in observations])
    n_there, n_not = int(there.sum()), int((~there).sum())
    if not n_there or not n_not:
        return Calibration()
    target = np.where(there, (n_there + 1) / (n_there + 2), 1 / (n_not + 2))
    weight = np.where(there, 0.5 / n_there, 0.5 / n_not)

    def loss(theta: np.ndarray) -> float:
        z = np.exp(theta[0]) * x + theta[1]
        return float((weight * (np.logaddexp(0, z) - target * z)).sum() + ridge * theta[0] ** 2)

    theta = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    fitted = Calibration(slope=float(np.exp(theta[0])), intercept=float(theta[1]))
    threshold, pieces_from = cut(observations)
    return replace(fitted, threshold=threshold, pieces_from=pieces_from)


def calibrated(card: ModelCard, observations: Sequence[Observation]) -> dict[str, Calibration]:
    """A calibration for every finding that was observed both there and not there, and for the structures."""
    fitted = {}
    for finding in card.findings:
        own = [o for o in observations if o.finding == finding]
        if any(o.there for o in own) and not all(o.there for o in own):
            fitted[finding] = fit(own)
    # A structure such as a lung is present whenever a plain half of its map says so.
    for structure in card.structures:
        fitted[structure] = Calibration()
    return fitted


def summary(
    observations: Sequence[Observation], calibration_of: Callable[[Observation], Calibration]
) -> list[dict[str, object]]:
    """Per finding: how many, AUROC, sensitivity, specificity, false volume, Dice and hits, on painted scans.

    ``dice`` is of the whole map at a half, ``answered_dice`` and ``answered_f1`` are of what an answer keeps of it.

    Args:
        observations: Of all findings.
        calibration_of: By which calibration an observation is judged.
    """
    from torchmetrics.functional.classification import binary_auroc

    rows = []
    for finding in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == finding]
        there = [o for o in own if o.there]
        absent = [o for o in own if not o.there]
        # An absent answer marks nothing, whatever its map.
        marked = [0.0 if is_absent(o, calibration_of(o)) else o.mask_ml for o in absent]
        answers = [answer_of(o, calibration_of(o)) for o in there]
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
                "dice": _mean(o.dice for o in there),
                "hit": _share(o.hit for o in there),
                "false_ml_median": float(np.median(marked)) if absent else None,
                "false_ml_mean": _mean(marked),
                "answered_dice": _mean(dice_of(o, answer) for o, answer in zip(there, answers)),
                "answered_f1": _mean(f1_of(o, answer) for o, answer in zip(there, answers)),
            }
        )
    return rows


def is_absent(observation: Observation, calibration: Calibration) -> bool:
    """Whether the answer is "absent"."""
    return calibration.probability(observation.evidence) < calibration.absent_below


def answer_of(observation: Observation, calibration: Calibration) -> list[Piece]:
    """The pieces of the answer: none where it is "absent"."""
    if is_absent(observation, calibration):
        return []
    return kept(observation, calibration.threshold, calibration.pieces_from)


@dataclass(frozen=True)
class Decision:
    """What a model is to answer, and when it says what.

    Attributes:
        calibration: By term, of what it answers.
        findings: What it answers.
        rows: How it did, finding by finding, refused ones among them: each scan judged by what was fitted without it.
    """

    calibration: dict[str, Calibration]
    findings: tuple[str, ...]
    rows: list[dict[str, object]]


def decide(
    card: ModelCard,
    observations: Sequence[Observation],
    scans: int,
    findings: Sequence[str] | None = None,
    least_auroc: float = 0.0,
) -> Decision:
    """Fits on all scans, and reports of each third of them how a calibration does that was fitted on the other two.

    Args:
        card: Of the model that was observed.
        observations: On ``scans`` scans.
        scans: How many there were.
        findings: What it may answer; all that it was trained on when None.
        least_auroc: What is told apart worse than this is refused.
    """

    def part(observation: Observation) -> int:
        return observation.scene * PARTS // scans

    without = [calibrated(card, [o for o in observations if part(o) != left_out]) for left_out in range(PARTS)]
    rows = summary(observations, lambda o: without[part(o)].get(o.finding, Calibration()))

    def answered(row: dict[str, object]) -> bool:
        auroc = row["auroc"]
        good = least_auroc <= 0 or (isinstance(auroc, float) and auroc >= least_auroc)
        return good and (findings is None or row["finding"] in findings)

    kept = {row["finding"] for row in rows if answered(row)}
    answers = tuple(finding for finding in card.findings if finding in kept)
    refused = set(card.findings) - set(answers)
    fitted = {term: value for term, value in calibrated(card, observations).items() if term not in refused}
    return Decision(fitted, answers, [{**row, "answered": row["finding"] in kept} for row in rows])


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
        rows = [{**row, "pieces": tuple(Piece(**piece) for piece in row["pieces"])} for row in content["observations"]]
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
