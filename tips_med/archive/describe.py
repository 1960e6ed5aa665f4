"""From an encoded study to what an archive stores of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tips_med.archive.keys import key_of
from tips_med.archive.places import HEIGHTS, LABELS, SIDES, highest_by_place, lobes_of
from tips_med.archive.record import About, StoredInstance, StudyRecord
from tips_med.archive.vectors import pool_blocks, select_vectors
from tips_med.encoders.study import EncodedStudy
from tips_med.grounding import ground
from tips_med.grounding.coverage import search_region
from tips_med.grounding.encoding import finding_adapters, make_features
from tips_med.grounding.evidence import evidence_within
from tips_med.grounding.ground import assess, check_study, in_chest
from tips_med.grounding.maps import finding_maps, structure_phrases, study_thorax
from tips_med.grounding.thorax import Thorax
from tips_med.model import GroundingModel
from tips_med.query import Query

_SEARCHED = {"any": None, "right": "right", "left": "left"}


def about_archive(study: EncodedStudy, model: GroundingModel) -> About:
    """What holds for an archive that begins with a study."""
    blocks = pool_blocks(study, model)
    width = blocks.vectors.shape[1]
    centre = blocks.vectors.mean(axis=0) if len(blocks.vectors) else np.zeros(width)
    return About(
        weights_sha256=model.sha256,
        model=model.identity,
        terms=(*model.card.findings, *_structures(model)),
        width=width,
        centre=tuple(float(value) for value in centre),
    )


def describe(study: EncodedStudy, model: GroundingModel, about: About, secret: bytes) -> StudyRecord:
    """All that an archive stores of a study: every known term is asked once.

    Args:
        study: Encoded study.
        model: The model that encoded it.
        about: The archive.
        secret: Secret of its keys.

    Raises:
        WeightsError: ``other-weights``: the study was encoded by another model.
    """
    check_study(study, model)
    make_features(study, finding_adapters(model), model)
    thorax = study_thorax(study, model) if "lung" in model.card.structures else None
    known, whole = _shown(study, thorax)
    lobes = {} if thorax is None else lobes_of(thorax, study.body)
    evidence: dict[str, np.ndarray] = {}
    instances: list[StoredInstance] = []
    maps: list[np.ndarray] = []
    for term in about.terms:
        query = model.lexicon.parse(model.lexicon.term(term).name)
        if thorax is not None and query.finding is not None and in_chest(query, model):
            logits = _evidence(study, query, model)
            maps.append(logits)
            evidence[term] = highest_by_place(logits, thorax, study.body.inside, lobes)[0]
        else:
            evidence[term] = _asked(study, query, model)
    for term in model.card.findings:
        instances += _marked(study, term, evidence, model)
    blocks = pool_blocks(study, model)
    scan = study.scan
    return StudyRecord(
        key=key_of(study, secret),
        modality=scan.modality,
        thickness_mm=float(scan.spacing_mm[0]),
        slices=scan.shape[0],
        year=scan.provenance.study_year,
        evidence=evidence,
        known=known,
        whole=whole,
        instances=tuple(instances),
        vectors=select_vectors(study, blocks, np.array(about.centre, np.float32), thorax, maps),
    )


def _structures(model: GroundingModel) -> tuple[str, ...]:
    """The structures that are asked: those that cost no features of their own, as organs of an adapter do."""
    cheap = (0, *finding_adapters(model))
    phrases = {one: structure_phrases(model.lexicon.term(one)) for one in model.card.structures}
    return tuple(one for one, own in phrases.items() if all(model.adapter_of(phrase) in cheap for phrase in own))


def _evidence(study: EncodedStudy, query: Query, model: GroundingModel) -> np.ndarray:
    """Evidence of the finding itself, without its kinds, wherever the body is."""
    heat = next(heat for term, heat in finding_maps(study, query, model) if query.finding and term == query.finding.id)
    inside = study.body.inside
    return evidence_within(np.where(inside | np.isnan(heat), heat, np.float32(0)), inside)


def _shown(study: EncodedStudy, thorax: Thorax | None) -> tuple[np.ndarray, np.ndarray]:
    """Whether each place is known in this scan, and whether it is shown nearly whole, bool [side height]."""
    known, whole = (np.zeros((len(SIDES), len(HEIGHTS)), bool) for _ in range(2))
    if thorax is None:
        known[0, 0] = True
        known[1:, 0] = study.body.midline.known
        return known, whole
    for s, side in enumerate(SIDES):
        for h, place in enumerate(HEIGHTS):
            coverage = search_region(thorax, study.body, LABELS[side], () if place is None else (place,)).coverage
            known[s, h] = coverage.side_known and coverage.height_known
            whole[s, h] = coverage.whole
    return known, whole


def _asked(study: EncodedStudy, query: Query, model: GroundingModel) -> np.ndarray:
    """Evidence for what is not in the chest, or has a map for each side: each side is asked, heights are not known."""
    found = np.empty((len(SIDES), len(HEIGHTS)), np.float32)
    for s, side in enumerate(SIDES):
        found[s] = assess(study, replace(query, side=_SEARCHED[side]), model).logit
    return found


def _marked(
    study: EncodedStudy, term: str, evidence: dict[str, np.ndarray], model: GroundingModel
) -> list[StoredInstance]:
    """What the model marks for a finding; a study whose evidence is too low for any component is not asked."""
    finding = model.lexicon.term(term)
    kinds = [(model.card.calibration_of(one), evidence[one]) for one in (term, *finding.kinds) if one in evidence]
    # No component is surer than the surest place, and those that are less sure than this are dropped.
    if all(one is not None and one.probability(float(logits[0, 0])) < one.absent_below for one, logits in kinds):
        return []
    return [
        StoredInstance(
            term=term,
            side=one.side or "",
            region=one.region,
            volume_ml=one.volume_ml,
            long_axis_mm=one.long_axis_mm,
            score=one.score,
            peak_lps=one.peak_lps,
            centroid_lps=one.centroid_lps,
            lobes=one.lobes,
        )
        for one in ground(study, model.lexicon.parse(finding.name), model).instances
    ]
