"""Everything that a map may mean, the surest first: marks for a reader to go through, and for an FROC curve.

An answer keeps what is sure enough. How many findings a lower threshold would find, and at how many false marks, is a
question about all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from tips_med.card import Calibration
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import transform_points
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.ground import default_model, ensure_same_weights, parse_query, search_regions
from tips_med.grounding.maps import finding_maps
from tips_med.model import GroundingModel
from tips_med.query import Query

MIN_DISTANCE_MM = 10.0
"""Of two maxima that are closer than this only the surer one is a candidate: a nodule has one mark, or a few."""


@dataclass(frozen=True)
class Candidate:
    """A place where a map has a maximum.

    Attributes:
        place_lps: Place of the maximum, LPS in mm.
        probability: Probability by the calibration of the answer; the plain score where there is none, 0 to 1.
        logit: Its logit, which orders candidates; ``score`` of a mark.
    """

    place_lps: tuple[float, float, float]
    probability: float
    logit: float


def find_candidates(
    study: EncodedStudy,
    query: str | Query,
    model: GroundingModel | None = None,
    min_probability: float = 0.02,
    max_candidates: int = 100,
    min_distance_mm: float = MIN_DISTANCE_MM,
) -> tuple[Candidate, ...]:
    """The maxima of what decides an answer: evidence in the searched region, calibrated.

    The surest candidate is the place that decides ``ground``'s answer to the same query, with the same probability.

    Args:
        study: Encoded study.
        query: Free text, or a parsed query.
        model: The shipped one when None; must be the one that encoded the study.
        min_probability: Lowest probability of a candidate, 0 to 1.
        max_candidates: Maximum number of candidates; the surest are kept.
        min_distance_mm: Distance within which the surer of two maxima is kept alone, in mm, 0 or more.

    Returns:
        Candidates, the surest first; none where nothing reaches the probability.

    Raises:
        QueryError: Nothing in the query is understood, or the model was not trained to find it, or not in that place.
        WeightsError: The study was encoded by another model.
    """
    model = model or default_model()
    understood = parse_query(query, model)
    ensure_same_weights(study, model)
    affine = study.features.lps_from_fine
    affine = study.features.lps_from_patch if affine is None else affine
    region = search_regions(study, understood, model)["searched"].mask
    score = None
    for term, heat in finding_maps(study, understood, model):
        calibration = model.card.calibration_of(term) or Calibration()
        evidence = evidence_map(np.where(study.body.inside | np.isnan(heat), heat, np.float32(0)))
        calibrated = np.float32(calibration.slope) * evidence + np.float32(calibration.intercept)
        score = calibrated if score is None else np.maximum(score, calibrated)
    assert score is not None  # every query that is understood has a map
    score = np.where(region, score, -np.inf)
    low = np.log(max(min_probability, 1e-12) / max(1 - min_probability, 1e-12))
    cells = np.argwhere((score >= low) & (score == ndimage.maximum_filter(score, 3)) & np.isfinite(score))
    logits = score[tuple(cells.T)]
    order = np.argsort(-logits, kind="stable")
    places, logits = transform_points(affine, cells[order]).reshape(-1, 3), logits[order]
    kept = _apart(places, min_distance_mm, max_candidates)
    return tuple(_candidate(places[n], float(logits[n])) for n in kept)


def _apart(places: np.ndarray, min_distance_mm: float, most: int) -> list[int]:
    """Rows of places [n 3], in their order, without those that are too close to one before them."""
    if not len(places):
        return []
    tree = KDTree(places)
    free, kept = np.ones(len(places), bool), []
    for n in range(len(places)):
        if free[n] and len(kept) < most:
            kept.append(n)
            free[tree.query_ball_point(places[n], min_distance_mm)] = False
    return kept


def _candidate(place: np.ndarray, logit: float) -> Candidate:
    x, y, z = (float(v) for v in place)
    return Candidate((x, y, z), float(1 / (1 + np.exp(-logit))), logit)
