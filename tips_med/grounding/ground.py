"""Encode once, query many times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tips_med.card import Calibration
from tips_med.encoders.base import Progress
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import LEFT, RIGHT, box_around, transform_points
from tips_med.grounding.answer import Coverage, Decision, Grounding, Instance, Reason
from tips_med.grounding.coverage import THIRDS, Region, requested_places, search_region
from tips_med.grounding.decision import combine_sides, decide_presence, mark_unsure
from tips_med.grounding.encoding import Adapters, check_study, cut_slabs, encode_slabs
from tips_med.grounding.evidence import evidence_map, peak_logit
from tips_med.grounding.instances import filter_by_size, find_instances
from tips_med.grounding.maps import (
    CHEST_STRUCTURES,
    ENCLOSING_STRUCTURES,
    WordMaps,
    chest_phrases,
    finding_maps,
    phrases_of,
    study_thorax,
)
from tips_med.grounding.modality import ensure_known_modality
from tips_med.grounding.organs import largest_pieces, sided_by_midline
from tips_med.grounding.thorax import SIDES, Thorax
from tips_med.grounding.wording import CHECKED, write_sentence
from tips_med.model import GroundingModel, load_model
from tips_med.query import Query, Term
from tips_med.scan import Scan
from tips_med.shapes import Affine, Heat, Labels

MIN_VOLUME_ML = 0.02
"""Components smaller than this are not reported: a nodule of 3 mm has 0.014 ml."""


@cache
def default_model() -> GroundingModel:
    """The shipped model, loaded once."""
    return load_model()


def encode(
    scan: Scan,
    model: GroundingModel | None = None,
    progress: Progress | None = None,
    adapters: Adapters = (),
) -> EncodedStudy:
    """Does all costly work, before any query is known.

    Of a model with adapters (what it was taught later), this is the work for what it knew before. The features of an
    adapter are made when a question needs them, in another pass over the scan; made here, they share one.

    Args:
        scan: Scan to encode.
        model: The shipped one when None.
        progress: Called with (slabs done, total slabs), a slab being counted once for each part of the network.
        adapters: Adapters whose features are made, too: those of the queries that will be asked, see ``adapters_of``;
            ``all`` for a study that is stored and answers everything from its file.

    Raises:
        ModalityError: The model was not trained on scans of this kind.
        ReadError: The scan is larger than any body.
        WeightsError: ``no-adapter``: the model has no adapter of such a number.
    """
    model = model or default_model()
    scan = ensure_known_modality(scan, model)
    return encode_slabs(scan, cut_slabs(scan, model), model, progress, adapters)


def adapters_of(queries: Iterable[Query], model: GroundingModel) -> tuple[int, ...]:
    """Numbers of the adapters that answer some queries, rising, from 1; none for a query that the model itself answers.

    Args:
        queries: Queries, as ``parse_query`` gives them.
        model: Model that is asked.
    """
    if not model.adapters:
        return ()
    phrases: set[str] = set()
    for query in queries:
        phrases.update(phrases_of(query, model))
        if in_chest(query, model):
            phrases.update(chest_phrases(model))
    return tuple(sorted({model.adapter_of(phrase) for phrase in phrases} - {0}))


def ground(study: EncodedStudy | Scan, query: str | Query, model: GroundingModel | None = None) -> Grounding:
    """Answers one query.

    Args:
        study: An encoded study (or a scan, which is encoded first).
        query: Free text, or a parsed query.
        model: The shipped one when None; must be the one that encoded the study.

    Raises:
        QueryError: Nothing in the query is understood, or the model was not trained to find it, or not in that place.
        WeightsError: The study was encoded by another model.
    """
    model = model or default_model()
    understood = parse_query(query, model)  # before the costly part: a refusal comes at once
    if isinstance(study, Scan):
        study = encode(study, model, adapters=adapters_of((understood,), model))
    ensure_same_weights(study, model)
    found = assess(study, understood, model)
    decision, sides = found.decision, found.regions
    labels, instances = np.zeros(study.scan.shape, np.uint8), ()
    others: tuple[Instance, ...] = ()
    kept = [name for name, one in decision.sides.items() if one.state != "absent"] if decision.sides else ["searched"]
    if (decision.state != "absent" or "one-side-only" in decision.reasons) and kept:
        where = np.any([sides[name].mask for name in kept], axis=0)
        heat = np.where(where | np.isnan(found.heat), found.heat, np.float32(0))
        calibration = found.calibration or Calibration()
        # Beside a finding that is there a component must be more likely than not; where all is unsure, so are they.
        min_score = 0.5 if decision.state == "present" else calibration.absent_below if found.calibration else 0.0
        labels, instances = find_instances(
            heat,
            found.lps_from_heat,
            study.scan,
            found.thorax,
            calibration,
            MIN_VOLUME_ML,
            min_score,
            lobar=understood.finding is not None and (understood.finding.within or "lung") == "lung",
        )
        labels, instances = _as_organ(understood, labels, instances, study, found)
        if understood.measurement_mm is not None and understood.finding is not None and instances:
            labels, instances, others = filter_by_size(labels, instances, understood.measurement_mm)
            if not instances:
                decision = mark_unsure(decision, "size-mismatch")
    x, y, z = (float(v) for v in transform_points(found.lps_from_heat, np.array(found.peak))[0])
    return Grounding(
        query=understood,
        scan=study.scan,
        presence=decision,
        heat=found.heat,
        lps_from_heat=found.lps_from_heat,
        labels=labels,
        instances=instances,
        peak_lps=instances[0].peak_lps if instances else (x, y, z),
        token_heat=WordMaps(study, understood, model),
        sentence=write_sentence(understood, decision, instances, others),
        model=model.identity,
    )


def _as_organ(
    query: Query, labels: Labels, instances: tuple[Instance, ...], study: EncodedStudy, found: Assessment
) -> tuple[Labels, tuple[Instance, ...]]:
    """The components of an organ outside the chest: sides by the midline, and one piece where it has one."""
    organ = query.structure
    if query.finding is not None or organ is None or found.thorax is not None:
        return labels, instances
    if organ.paired:
        instances = sided_by_midline(instances, organ.name, study.body, found.lps_from_heat)
    if organ.whole:
        labels, instances = largest_pieces(labels, instances, organ.paired and query.side not in ("left", "right"))
    return labels, instances


def ensure_same_weights(study: EncodedStudy, model: GroundingModel) -> None:
    """Refuses a study that another model encoded.

    Raises:
        WeightsError: ``other-weights``.
    """
    check_study(study, model)


@dataclass(frozen=True, eq=False)
class Assessment:
    """Maps and decision of a query, before anything is outlined.

    Attributes:
        heat: Scores, [slab y x]: zero outside the searched region, NaN where nothing was seen.
        lps_from_heat: Maps (slab, y, x, 1) of ``heat`` to LPS in mm.
        thorax: Chest of the scan; None where the query is not about it, or the model does not know it.
        regions: Searched regions by name: ``searched``; for a query for both sides also ``right`` and ``left``.
        calibration: Calibration of the queried term; None where the model has none.
        decision: Present, absent or unsure.
        peak: Index into ``heat`` of the highest evidence in the searched region.
        logit: Highest evidence in the searched region (logit).
    """

    heat: Heat
    lps_from_heat: Affine
    thorax: Thorax | None
    regions: dict[str, Region]
    calibration: Calibration | None
    decision: Decision
    peak: tuple[int, int, int]
    logit: float


def assess(study: EncodedStudy, query: Query, model: GroundingModel) -> Assessment:
    """Assesses what of the searched region the scan shows, and decides what is in it.

    The map is that of the finding in its usual words, whatever the side, the place and the wording that were typed:
    these choose the region that is looked at. So no answer contradicts another one about a part of its region.
    """
    lps_from_heat = study.features.lps_from_fine
    if lps_from_heat is None:
        lps_from_heat = study.features.lps_from_patch
    thorax = study_thorax(study, model) if in_chest(query, model) else None
    regions = search_regions(study, query, model)
    searched = regions["searched"]
    # Evidence is an average over neighbours: those of the region are all within this box.
    near = box_around(searched.mask, margin=1) or (slice(0, 1),) * 3
    notes = (*searched.notes, *_notes(query))
    candidates = []
    for term, heat in finding_maps(study, query, model):
        in_body = _only(study.body.inside[near], heat[near], study.all_seen)
        candidates.append((model.card.calibration_of(term), heat, evidence_map(in_body)))

    def decided(region: Region) -> tuple[Decision, int, tuple[float, tuple[int, int, int]]]:
        peaks = [peak_logit(logits, region.mask[near]) for _, _, logits in candidates]
        made = [
            decide_presence(logit, calibration, region.coverage, negated=query.negated, notes=notes)
            for (logit, _), (calibration, _, _) in zip(peaks, candidates)
        ]
        best = max(range(len(made)), key=lambda n: (made[n].probability or 0.0, made[n].score))
        return made[best], best, peaks[best]

    decision, best, (logit, (slab, y, x)) = decided(searched)
    if query.side == "both" and "right" in regions:
        sides = {name: decided(regions[name])[0] for name in ("right", "left")}
        decision = combine_sides(sides, negated=query.negated, notes=notes)
    calibration = candidates[best][0]
    heat = np.fmax.reduce([heat for _, heat, _ in candidates]) if len(candidates) > 1 else candidates[0][1]
    heat = _only(searched.mask, heat, study.all_seen)
    peak = (near[0].start + slab, near[1].start + y, near[2].start + x)
    return Assessment(heat, lps_from_heat, thorax, regions, calibration, decision, peak, logit)


def _only(region: np.ndarray, heat: Heat, all_seen: bool) -> Heat:
    """A map that is zero outside a region, and NaN where nothing was seen."""
    return np.where(region if all_seen else region | np.isnan(heat), heat, np.float32(0))


def in_chest(query: Query, model: GroundingModel) -> bool:
    """Whether a query is about something in the lungs or around them, and the model knows these."""
    if "lung" not in model.card.structures:
        return False
    if query.finding is None:
        return query.structure is not None and query.structure.id in CHEST_STRUCTURES
    place = query.structure.id if query.structure else query.finding.within or "lung"
    return place in CHEST_STRUCTURES or place in ENCLOSING_STRUCTURES


def search_regions(study: EncodedStudy, query: Query, model: GroundingModel) -> dict[str, Region]:
    """The region that a query searches, as ``searched``; of a query for both sides also ``right`` and ``left``.

    Masks are bool [slab y x] on the grid of the map, and kept with the study: they are not to be changed.
    """
    if not in_chest(query, model):
        return {"searched": _half_of_body(study, query)}
    thorax = study_thorax(study, model)
    places, outline = requested_places(query), query.finding is None
    found: dict[object, Region] = study.cache.setdefault("regions", {})

    def part(*labels: int) -> Region:
        asked = (labels, places, outline)
        if asked not in found:
            found[asked] = search_region(thorax, study.body, labels, places, outline=outline)
        return found[asked]

    labels = {"right": (RIGHT,), "left": (LEFT,)}.get(query.side or "", (RIGHT, LEFT))
    regions = {"searched": part(*labels)}
    if query.side == "both":
        regions |= {name: part(label) for label, name in SIDES.items()}
    if query.structure is not None and query.structure.id in ENCLOSING_STRUCTURES and query.finding is not None:
        # The chest holds more than lungs and pleura, and the model was not trained on it.
        for name, region in regions.items():
            coverage = replace(region.coverage, reasons=("wider-than-trained", *region.coverage.reasons))
            regions[name] = replace(region, coverage=coverage)
    return regions


def _half_of_body(study: EncodedStudy, query: Query) -> Region:
    """The body, or its half on the searched side; its coverage is not known."""
    body = study.body
    reasons: tuple[Reason, ...] = ("extent-unknown",)
    where, side_known = body.inside, True
    if query.side in ("left", "right"):
        side_known = body.midline.known
        if side_known:
            affine = study.features.lps_from_fine
            affine = study.features.lps_from_patch if affine is None else affine
            x_mm = affine[0, 3] + affine[0, 2] * np.arange(where.shape[2])
            left_of_it = x_mm[None, :] - body.midline.x_mm[:, None]
            on_side = (
                left_of_it > -body.midline.within_mm if query.side == "left" else left_of_it < body.midline.within_mm
            )
            where = where & on_side[:, None, :]
        else:
            reasons = ("side-unknown", *reasons)
    notes: tuple[Reason, ...] = ("location-unchecked",) if requested_places(query) else ()
    return Region(where, Coverage(0.0, False, side_known, True, reasons), notes)


def _notes(query: Query) -> tuple[Reason, ...]:
    """Parts of a query that are understood and have no answer."""
    notes: list[Reason] = []
    if query.hedged:
        notes.append("hedge-ignored")
    if query.unchecked:
        notes.append("wording-unchecked")
    if any(location.id not in THIRDS for location in query.locations):
        notes.append("location-unchecked")
    if any(attribute.id not in CHECKED for attribute in query.attributes):
        notes.append("attribute-unchecked")
    return tuple(notes)


def query_term(query: Query) -> str:
    """The term that a query's answer is calibrated for."""
    return query.finding.id if query.finding else query.structure.id if query.structure else ""


def parse_queries(text: str, model: GroundingModel | None = None) -> list[Query]:
    """All queries of a text: "nodule or effusion, right" is two.

    Args:
        text: One or more findings, structures or places.
        model: Model whose lexicon is used; the shipped one when None. ``ground`` checks whether it knows the finding.

    Raises:
        QueryError: No word is known, or the text contradicts itself.
    """
    return (model or default_model()).lexicon.parse_each(text)


def parse_query(query: str | Query, model: GroundingModel) -> Query:
    """Parses a query and checks that the model was trained on its finding.

    Raises:
        QueryError: It was not, or nothing was understood.
    """
    parsed = model.lexicon.parse(query) if isinstance(query, str) else query
    term = parsed.finding or parsed.structure
    known = model.card.findings if parsed.finding else model.card.structures
    if known and (term is None or term.id not in known):
        lexicon = model.lexicon
        names = [lexicon.term(term).name for term in (*model.card.findings, *model.card.structures)]
        raise QueryError(
            f"the query {parsed.text!r} is for {term.name if term else 'nothing in particular'}",
            expected=f"what the model {model.card.name!r} was trained to find: {', '.join(names)}",
            remedy="query one of these, or name another model with --model",
            code="not-trained",
        )
    if parsed.finding is not None and parsed.structure is not None:
        _check_place(parsed, parsed.finding, parsed.structure, model)
    return parsed


def _check_place(query: Query, finding: Term, place: Term, model: GroundingModel) -> None:
    """A finding is only searched where the model was trained on it: elsewhere no evidence means nothing."""
    taught = model.card.places.get(finding.id) or (
        (finding.within or "lung",) if "lung" in model.card.structures else ()
    )
    if not taught or place.id in taught:
        return
    if set(taught) & set(CHEST_STRUCTURES) and (place.id in CHEST_STRUCTURES or place.id in ENCLOSING_STRUCTURES):
        return
    lexicon = model.lexicon
    raise QueryError(
        f"the query {query.text!r} is for a {finding.name} in the {place.name}",
        expected=f"a place in which the model {model.card.name!r} was trained to find it: "
        f"{', '.join(lexicon.term(one).name for one in taught)}",
        remedy=(
            f"query {place.name!r} to see where that is, or "
            if place.id in model.card.structures
            else "query it there, or "
        )
        + "train the model on this place (tips-med train)",
        code="place-not-trained",
    )
