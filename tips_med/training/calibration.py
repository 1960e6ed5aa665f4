"""When to say present, absent or unsure: fitted on whole painted scans that were never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize

from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import voxel_volume_mm3
from tips_med.grounding.ground import encode_slabs, lexicon_named, probability_map
from tips_med.grounding.presence import evidence
from tips_med.model import Calibration, GroundingModel, ModelCard
from tips_med.query import Side
from tips_med.scan import Scan
from tips_med.slabs import SlabStack, stack_channels
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.language import Slots, describe
from tips_med.synthesis.scene import Scene, SceneSpec, make_scene
from tips_med.training.questions import answer

SPECIFICITY, MOST_ABSENT = 0.95, 0.5
"""The share of what is not there that should be called absent; and what is likelier than not is never called so."""

_SAID = ("sensitivity", "specificity", "false_ml_median", "false_ml_mean")


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


def study_of(scene: Scene, model: GroundingModel) -> EncodedStudy:
    """Encodes a scene as if it were a scan."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
    affine[1, 3], affine[0, 3] = scene.offset_mm
    scan = Scan(scene.volume_hu, affine, "CT", "HU")
    volume = torch.from_numpy(scene.volume_hu)
    pixels = stack_channels(volume, model.image.slab_spec)
    slabs = SlabStack(pixels, torch.ones(volume.shape, dtype=torch.bool), affine, model.image.slab_spec)
    return encode_slabs(scan, slabs, model)


def observe(
    model: GroundingModel, anatomies: Sequence[Anatomy], scenes: SceneSpec, n: int, seed: int, held_out: bool = False
) -> Iterator[Observation]:
    """Asks every finding of ``n`` whole painted scans.

    What is there is asked for on either side and on none in particular, what is not there in one of these ways.

    Args:
        model: To be calibrated.
        anatomies: With labelled lungs, none of them trained on; taken in turn.
        scenes: How to paint; ``shape`` must be None.
        n: Scans.
        seed: Of everything.
        held_out: Use the synonyms that training never saw.
    """
    lexicon = lexicon_named(model.card.lexicon)
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        scene = make_scene(anatomies[number % len(anatomies)], scenes, rng)
        study = study_of(scene, model)
        ml = voxel_volume_mm3(study.scan.lps_from_kji) / 1000
        for finding in model.card.findings:
            sides: tuple[Side | None, ...] = (None, "left", "right")
            if not scene.where(finding).any():
                sides = (sides[int(rng.integers(3))],)
            for side in sides:
                slots = Slots(finding=finding, side=side)
                query = lexicon.parse(describe(slots, rng, lexicon, held_out=held_out))
                heat, _, _ = probability_map(study, query, model.text.embed([query.phrase])[0], model)
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
    logit, peak = evidence(heat)
    mask = heat >= 0.5
    total = int(mask.sum()) + int(target.sum())
    return Observation(
        scene=scene,
        finding=finding,
        side=side,
        there=bool(target.sum() * ml >= 0.03),
        evidence=logit,
        truth_ml=float(target.sum() * ml),
        mask_ml=float(mask.sum() * ml),
        dice=float(2 * (mask & target).sum() / total) if total else 1.0,
        hit=bool(target[peak]),
    )


def fit(observations: Sequence[Observation], ridge: float = 0.02) -> Calibration:
    """Platt's sigmoid by maximum likelihood, with his smoothed targets and a slope that is never negative.

    Both classes weigh the same, whatever their numbers: how often a finding is there is the hospital's to know.
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
    # What is not there should be called absent nearly always, even where that costs some of what is.
    absent = [fitted.probability(float(e)) for e, is_there in zip(x, there) if not is_there]
    below = float(np.clip(np.quantile(absent, SPECIFICITY), fitted.absent_below, MOST_ABSENT))
    return replace(fitted, absent_below=below, present_above=max(fitted.present_above, below))


def calibrated(card: ModelCard, observations: Sequence[Observation]) -> dict[str, Calibration]:
    """A calibration for every finding, and one for all others."""
    fitted = {"": fit(observations)}
    for finding in card.findings:
        fitted[finding] = fit([o for o in observations if o.finding == finding])
    # A structure such as a lung is present whenever a plain half of its map says so.
    for structure in card.structures:
        fitted[structure] = Calibration()
    return fitted


def summary(observations: Sequence[Observation], calibration: dict[str, Calibration]) -> list[dict[str, object]]:
    """Per finding: how many, AUROC, sensitivity, specificity, false volume, Dice and hits, on painted scans."""
    from torchmetrics.functional.classification import binary_auroc

    rows = []
    for finding in dict.fromkeys(o.finding for o in observations):
        own = [o for o in observations if o.finding == finding]
        fit_of = calibration.get(finding, calibration[""])
        chance = [1 / (1 + np.exp(-(fit_of.slope * o.evidence + fit_of.intercept))) for o in own]
        there = [o for o in own if o.there]
        absent = [o for o in own if not o.there]
        said = dict(zip(map(id, own), chance))
        # An absent answer marks nothing, whatever its map.
        marked = [o.mask_ml * (said[id(o)] >= fit_of.absent_below) for o in absent]
        rows.append(
            {
                "finding": finding,
                "present": len(there),
                "absent": len(absent),
                "auroc": float(binary_auroc(torch.tensor(chance), torch.tensor([int(o.there) for o in own])))
                if there and absent
                else None,
                "sensitivity": _share(said[id(o)] >= fit_of.absent_below for o in there),
                "specificity": _share(said[id(o)] < fit_of.absent_below for o in absent),
                "dice": float(np.mean([o.dice for o in there])) if there else None,
                "hit": _share(o.hit for o in there),
                "false_ml_median": float(np.median(marked)) if absent else None,
                "false_ml_mean": float(np.mean(marked)) if absent else None,
            }
        )
    return rows


@dataclass(frozen=True)
class Decision:
    """What a model is to answer, and when it says what.

    Attributes:
        calibration: By term; of what it answers, and ``""``.
        findings: What it answers.
        rows: How it did, finding by finding, refused ones among them. AUROC, Dice and hits, which no calibration
            changes, are of all scans; what was said (sensitivity, specificity, false volume) of those that did not
            fit.
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
    """Fits on the first two thirds of the scans and reports.

    Args:
        card: Of the model that was observed.
        observations: On ``scans`` scans.
        scans: How many there were.
        findings: What it may answer; all that it was trained on when None.
        least_auroc: What is told apart worse than this on the scans that fit is refused.
    """
    fitting = [o for o in observations if o.scene < 2 * scans // 3]
    testing = [o for o in observations if o.scene >= 2 * scans // 3]
    fitted = calibrated(card, fitting)
    told_apart = {row["finding"]: row["auroc"] for row in summary(fitting, fitted)}

    def answered(finding: str) -> bool:
        auroc = told_apart.get(finding)
        good = least_auroc <= 0 or (isinstance(auroc, float) and auroc >= least_auroc)
        return good and (findings is None or finding in findings)

    kept = tuple(finding for finding in card.findings if answered(finding))
    said = {row["finding"]: row for row in summary(testing, fitted)}
    rows = []
    for row in summary(observations, fitted):
        tested = said.get(row["finding"], {})
        own = {f"tested_{key}": tested.get(key, 0) for key in ("present", "absent")}
        own |= {key: tested.get(key) for key in _SAID}
        rows.append({**row, **own, "answered": row["finding"] in kept})
    refused = set(card.findings) - set(kept)
    return Decision({term: value for term, value in fitted.items() if term not in refused}, kept, rows)


def as_rows(observations: Sequence[Observation]) -> list[dict[str, object]]:
    """Plain dictionaries, for JSON."""
    return [asdict(o) for o in observations]


def _share(truths: Iterator[bool]) -> float | None:
    values = list(truths)
    return sum(values) / len(values) if values else None
