"""What outlining a study would teach, estimated from the model's own answers to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit

from tips_med.encoders.study import EncodedStudy
from tips_med.grounding.answer import State
from tips_med.grounding.encoding import Adapters, features_of, patches_of
from tips_med.grounding.ground import Assessment, adapters_of, assess
from tips_med.model import GroundingModel
from tips_med.query import Query

MAP_THRESHOLD = 0.5
"""Probability above which a cell counts as marked: that of a map, not of a finding."""

ABSENT_WEIGHT = 0.25
"""Weight of an undecided answer beside an outline that is expected."""


@dataclass(frozen=True)
class PhraseValue:
    """One phrase, asked of one study that nobody has labelled.

    Attributes:
        phrase: Phrase of the manifest.
        state: The model's answer.
        probability: Calibrated probability; the score where there is no calibration, see ``as_share``.
        calibrated: Whether it is calibrated.
        presence_bits: Entropy of ``probability`` in bits, 0 (sure) to 1 (undecided).
        mask_doubt: One minus the soft Dice confidence of the map, 0 (every cell is sure) to 1.
        disagreement: One minus the soft Dice of the fine map and the patches' own scores, 0 to 1; NaN where the model
            has only patches.
        rarity: Weight of the phrase, 0 to 1: lower the more often it is outlined already.
        peak_lps: Position of the strongest evidence, LPS in mm.
    """

    phrase: str
    state: State
    probability: float
    calibrated: bool
    presence_bits: float
    mask_doubt: float
    disagreement: float
    rarity: float
    peak_lps: tuple[float, float, float]

    @property
    def value(self) -> float:
        """What a label is expected to teach, 0 to 2.

        One more outline where something is there, the more the worse it is outlined now; a wrong answer mended where
        presence is undecided, which counts less: the model has far more examples of what is not there.
        """
        doubts = [one for one in (self.mask_doubt, self.disagreement) if not math.isnan(one)]
        outline = 1 + sum(doubts) / max(len(doubts), 1)
        return self.rarity * (ABSENT_WEIGHT * self.presence_bits + (1 - ABSENT_WEIGHT) * self.probability * outline)


@dataclass(frozen=True, eq=False)
class StudyValue:
    """All phrases of a study, and what the study looks like.

    Attributes:
        phrases: Its phrases, in the order of the manifest.
        embedding: Mean patch embedding of the body, of length 1, float32 [width]; with what the adapters that
            answer the phrases add to it.
    """

    phrases: tuple[PhraseValue, ...]
    embedding: np.ndarray

    @property
    def value(self) -> float:
        """Sum over the phrases."""
        return sum(one.value for one in self.phrases)


def value_study(
    study: EncodedStudy, queries: Mapping[str, Query], outlined: Mapping[str, int], model: GroundingModel
) -> StudyValue:
    """Asks a study every phrase, and estimates what its labels would teach.

    Three signs are used, none of which needs a second run of the image network: the entropy of the presence
    (uncertainty sampling, Lewis and Gale 1994), the soft Dice confidence of the map (Borges 2024, "Soft Dice
    Confidence": the Dice that a mask is expected to have if the probabilities hold), and the disagreement of two heads
    of the model (query by committee, Seung 1992): fine cells and patches.

    Args:
        study: Encoded study.
        queries: Parsed query of each phrase.
        outlined: Number of studies in which each phrase is outlined already.
        model: Model that encoded the study.
    """
    found = []
    for phrase, query in queries.items():
        assessment = assess(study, query, model)
        decision = assessment.decision
        probability = decision.score if decision.probability is None else decision.probability
        found.append(
            PhraseValue(
                phrase=phrase,
                state=decision.state,
                probability=probability,
                calibrated=decision.calibrated,
                presence_bits=entropy_bits(probability),
                mask_doubt=1 - soft_dice_confidence(_searched(assessment)),
                disagreement=_heads_disagree(study, query, assessment, model),
                rarity=1 / math.sqrt(1 + outlined.get(phrase, 0)),
                peak_lps=_lps(assessment),
            )
        )
    return StudyValue(tuple(found), embedding_of(study, model, adapters_of(queries.values(), model)))


def as_share(values: Sequence[PhraseValue], share: float) -> list[PhraseValue]:
    """Scores of one phrase in all candidates, moved so that as many are expected to have it as a share of them.

    A score that is not calibrated orders the scans and says no more: a model that was taught a finding on two scans may
    score 0.9 everywhere. The shift is one constant of the logit, so that the order stays; what is calibrated stays.

    Args:
        values: The phrase in each candidate.
        share: Expected share of the candidates that have it, between 0 and 1.
    """
    logits = np.array([_logit(one.probability) for one in values])
    if not len(values) or all(one.calibrated for one in values):
        return list(values)
    shift = brentq(lambda by: float(expit(logits + by).mean()) - share, -60.0, 60.0)
    moved = expit(logits + shift)
    return [
        one if one.calibrated else replace(one, probability=float(p), presence_bits=entropy_bits(float(p)))
        for one, p in zip(values, moved)
    ]


def _logit(probability: float) -> float:
    p = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


def entropy_bits(probability: float) -> float:
    """Entropy of a yes-or-no answer in bits, 0 to 1."""
    p = min(max(probability, 0.0), 1.0)
    return -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)


def soft_dice_confidence(probabilities: np.ndarray, threshold: float = MAP_THRESHOLD) -> float:
    """Expected Dice of the thresholded mask if the probabilities hold, 0 to 1; 1 where nothing is likely at all.

    Args:
        probabilities: Probabilities of the searched cells, NaN where nothing was seen.
        threshold: Probability from which a cell is marked.
    """
    p = np.nan_to_num(np.asarray(probabilities, np.float64))
    marked = p >= threshold
    if not marked.any():
        # Without a mask there is no Dice: what is left is how sure the model is that nothing is there.
        return 1 - float(p.max(initial=0.0)) / threshold
    return float(2 * p[marked].sum() / (p.sum() + np.count_nonzero(marked)))


def embedding_of(study: EncodedStudy, model: GroundingModel, adapters: Adapters = ()) -> np.ndarray:
    """Mean patch embedding of the measured body, of length 1.

    Args:
        study: Encoded study.
        model: Model that encoded it.
        adapters: Adapters whose patches are part of it; the same for all studies that are compared.
    """
    patches = patches_of(study, model, adapters).float()
    mask = (study.seen & torch.from_numpy(study.body.inside)).float()
    rows, columns = patches.shape[1:3]
    weight = torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (rows, columns))[:, 0]
    mean = (patches * weight[..., None]).sum((0, 1, 2)) / weight.sum().clamp_min(1e-6)
    return torch.nn.functional.normalize(mean, dim=0).numpy()


def _searched(assessment: Assessment) -> np.ndarray:
    return assessment.heat[assessment.regions["searched"].mask]


def _heads_disagree(study: EncodedStudy, query: Query, assessment: Assessment, model: GroundingModel) -> float:
    """One minus the soft Dice of the two heads' maps, on the patch grid."""
    if study.features.fine is None:
        return float("nan")
    text = model.text.embed([query.phrase])[0]
    coarse = model.patch_scores(text.pooled, features_of(study, text.adapter, model))[0].sigmoid().numpy()
    inside = assessment.regions["searched"].mask & ~np.isnan(assessment.heat)
    fine = np.where(inside, np.nan_to_num(assessment.heat), 0)

    _, rows, columns = coarse.shape

    def pooled(cells: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(cells.astype(np.float32))[:, None]
        return torch.nn.functional.adaptive_avg_pool2d(values, (rows, columns))[:, 0].numpy()

    one, other = pooled(fine), coarse * pooled(inside)
    both = float(one.sum() + other.sum())
    return 1 - 2 * float(np.minimum(one, other).sum()) / both if both > 1e-6 else 0.0


def _lps(assessment: Assessment) -> tuple[float, float, float]:
    x, y, z = (assessment.lps_from_heat @ [*assessment.peak, 1.0])[:3]
    return float(x), float(y), float(z)
