"""Ranks the studies of an archive for a query, from what is stored of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tips_med.archive.conditions import Condition
from tips_med.archive.places import HEIGHTS, SIDES, bounds_of, heights_of
from tips_med.archive.record import About, StoredInstance, StudyRecord
from tips_med.archive.store import Store
from tips_med.card import Calibration
from tips_med.errors import QueryError, WeightsError
from tips_med.grounding.coverage import Place
from tips_med.grounding.encoding import finding_adapters
from tips_med.grounding.ground import in_chest
from tips_med.grounding.instances import same_size
from tips_med.grounding.maps import canonical_phrase
from tips_med.grounding.wording import CHECKED
from tips_med.model import GroundingModel
from tips_med.query import Query

Relevance = tuple[bool, bool, float]
"""What studies are ranked by: whether the queried place is known in the scan, whether the rest of the query can be met
there (a size; for a negated query, a place that is shown nearly whole), and the probability."""

_CANDIDATES_PER_HIT, _MIN_CANDIDATES = 20, 200


@dataclass(frozen=True)
class Candidate:
    """A study that may be what is searched.

    Attributes:
        key: Key of the study.
        relevance: What it is ranked by.
    """

    key: str
    relevance: Relevance


@dataclass(frozen=True)
class Ranking:
    """Studies by relevance, the highest first.

    Attributes:
        candidates: The best studies.
        bound: Whether no study can turn out more relevant than it is ranked: an attribute ("spiculated") can only lower
            it. False where the index has no evidence for what is searched, or may have measured a size differently.
        studies: Number of studies that were ranked.
    """

    candidates: tuple[Candidate, ...]
    bound: bool
    studies: int


def check_weights(about: About | None, model: GroundingModel, place: str) -> About:
    """Refuses an archive of other weights: their vectors and evidence mean something else.

    Raises:
        WeightsError: ``other-weights``.
    """
    assert about is not None
    if about.weights_sha256 != model.sha256:
        raise WeightsError(
            f"the archive was indexed by weights {about.weights_sha256[:12]}",
            path=place,
            expected=model.sha256[:12],
            remedy="name that model with --model, or index the scans with this one into a new archive",
            code="other-weights",
        )
    return about


def rank(store: Store, query: Query, model: GroundingModel, top: int, where: Condition | None = None) -> Ranking:
    """Ranks studies for a query.

    Args:
        store: Archive.
        query: Query, as parsed and checked by ``parse_query``.
        model: The model that indexed it.
        top: Number of studies that are wanted; some more are ranked, to be checked.
        where: Condition on scans; None for all.
    """
    assert store.about is not None
    count = max(_MIN_CANDIDATES, _CANDIDATES_PER_HIT * top)
    terms = indexed_terms(query, store.about, model)
    if not terms:
        return _rank_by_vectors(store, query, model, count, where)
    side = query.side or "any"
    both = side == "both"
    sides = ("right", "left") if both else (side,)
    found = store.evidence(terms, sides, where)
    heights = list(heights_of(query))
    at = [SIDES.index(one) for one in sides]
    place = np.ix_(range(len(found.keys)), at, heights)
    by_side = [_probability(found.logits[term][place].max(axis=2), model.card.calibration_of(term)) for term in terms]
    surest = np.max(by_side, axis=0)  # [study side]
    # Both sides hold where the less sure one does; "no ... on either side" where the surer one does not.
    probability = surest.max(axis=1) if query.negated else surest.min(axis=1)
    known = np.asarray(found.known[place].all(axis=(1, 2)))
    met = np.asarray(found.whole[place].all(axis=(1, 2))) if query.negated else np.ones(known.shape, bool)
    value = 1 - probability if query.negated else probability
    order = np.lexsort((-value, ~met, ~known)) if len(known) <= count else _best(value, met, known, count)
    candidates = [Candidate(found.keys[int(n)], (bool(known[n]), bool(met[n]), float(value[n]))) for n in order[:count]]
    if query.measurement_mm is not None and query.finding is not None:
        candidates = _by_size(store, query, terms, candidates)
    narrowed = query.negated and any(attribute.id in CHECKED for attribute in query.attributes)
    return Ranking(tuple(candidates), not narrowed and query.measurement_mm is None, len(known))


def indexed_terms(query: Query, about: About, model: GroundingModel) -> tuple[str, ...]:
    """Terms whose stored evidence answers a query; none where the index has no evidence for it."""
    finding, structure = query.finding, query.structure
    if finding is None:
        listed = structure is not None and structure.id in about.terms and not query.locations
        return (structure.id,) if listed and structure is not None else ()
    if finding.id not in about.terms or (structure is not None and not in_chest(query, model)):
        return ()
    return (finding.id, *(kind for kind in finding.kinds if kind in model.card.findings and kind in about.terms))


def instances_of(record: StudyRecord, query: Query, terms: Sequence[str]) -> list[StoredInstance]:
    """Stored instances that fit a query's finding, side, heights and size, the surest first."""
    places: list[Place | None] = [HEIGHTS[n] for n in heights_of(query)]
    fitting = [
        one
        for one in record.instances
        if one.term in terms
        and (query.side in (None, "both") or one.side in (query.side, "both"))
        and (query.measurement_mm is None or same_size(one.long_axis_mm, query.measurement_mm))
        and any(_may_lie_in(one, place, query.side) for place in places)
    ]
    return sorted(fitting, key=lambda one: -one.score)


def _may_lie_in(one: StoredInstance, place: Place | None, side: str | None) -> bool:
    """Whether an instance may lie in a part of a lung: by its estimated lobes where it has some, else by height."""
    by_height = _third_of(one.region, bounds_of(place))
    if not isinstance(place, str) or not one.lobes:
        return by_height
    asked = {f"{own} {place} lobe" for own in (("right", "left") if side in (None, "both") else (side,))}
    # The lingula is the lower part of the left upper lobe.
    lingula = "left middle lobe" in asked and "left upper lobe" in one.lobes and by_height
    return bool(asked & set(one.lobes)) or lingula


def _third_of(region: str, limits: tuple[float, float] | None) -> bool:
    """Whether a region in words may lie within bounds on height: thirds that share some height with them do."""
    thirds = {"lower": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "upper": (2 / 3, 1.0)}
    own = thirds.get(region.partition(" ")[0])
    return limits is None or own is None or min(own[1], limits[1]) - max(own[0], limits[0]) > 1e-6


def _by_size(store: Store, query: Query, terms: Sequence[str], candidates: list[Candidate]) -> list[Candidate]:
    records = store.records([one.key for one in candidates])
    sized = [
        Candidate(
            one.key,
            (one.relevance[0], bool(instances_of(records[one.key], query, terms)), one.relevance[2]),
        )
        for one in candidates
        if one.key in records
    ]
    return sorted(sized, key=lambda one: one.relevance, reverse=True)


def _best(value: np.ndarray, met: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """The best of many studies, in order; only these are sorted."""
    combined = value + 2 * met + 4 * known
    some = np.argpartition(-combined, count)[:count]
    return some[np.argsort(-combined[some], kind="stable")]


def _probability(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """``Calibration.probability`` of an array; the score without a calibration."""
    calibration = calibration or Calibration()
    raised = np.clip(calibration.slope * logits.astype(np.float64) + calibration.intercept, -30, 30)
    return 1 / (1 + np.exp(-raised))


def _rank_by_vectors(store: Store, query: Query, model: GroundingModel, count: int, where: Condition | None) -> Ranking:
    """For what no evidence is stored: the score of the phrase at the stored vectors."""
    assert store.about is not None
    phrase = canonical_phrase(query, query.finding) if query.finding else query.phrase
    text = model.text.embed([phrase])[0]
    head = model.head_of(text.adapter)
    width = head.to_patch.out_features
    sources = (0, *finding_adapters(model))  # of the vectors, side by side: see pool_blocks
    if text.adapter not in sources:
        raise QueryError(
            f"the archive cannot be searched for {query.text!r}: it holds no embeddings of organs",
            expected="a finding",
            remedy="ask the scans themselves (tips-med batch)",
            code="not-indexed",
        )
    at = sources.index(text.adapter)
    own = slice(at * width, (at + 1) * width)
    towards = np.zeros(store.about.width, np.float32)
    with torch.inference_mode():
        towards[own] = head.to_patch(text.pooled)[0].float().cpu().numpy()
    nearest = store.nearest(towards / max(float(np.linalg.norm(towards)), 1e-6), count, where)
    records = store.records([key for key, _ in nearest])
    centre = np.array(store.about.centre, np.float32)
    candidates = []
    for key, record in records.items():
        vectors = record.vectors
        patches = torch.from_numpy(vectors.directions * vectors.lengths[:, None] + centre)[:, None, None]
        allowed = query.side in (None, "both") or vectors.sides == (2 if query.side == "left" else 1)
        with torch.inference_mode():
            scores = head.patch_scores(text.pooled, patches[..., own])[0, :, 0, 0].sigmoid().cpu().numpy()
        best = float(np.where(allowed, scores, 0).max(initial=0))
        candidates.append(Candidate(key, (True, True, 1 - best if query.negated else best)))
    candidates.sort(key=lambda one: one.relevance, reverse=True)
    return Ranking(tuple(candidates), False, len(candidates))
