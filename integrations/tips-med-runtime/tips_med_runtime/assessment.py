"""What of the searched region the scan shows, and what is in it: as ``tips_med.ground`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tips_med_runtime.card import Calibration, ModelCard
from tips_med_runtime.errors import QueryError
from tips_med_runtime.grounding.answer import Coverage, Decision, Reason
from tips_med_runtime.grounding.coverage import Region, requested_places, search_region
from tips_med_runtime.grounding.decision import combine_sides, decide_presence
from tips_med_runtime.grounding.evidence import evidence_within, peak_logit
from tips_med_runtime.grounding.thorax import LEFT, RIGHT, SIDES, Thorax
from tips_med_runtime.language import Language
from tips_med_runtime.query import Query
from tips_med_runtime.shapes import Heat
from tips_med_runtime.study import Study

CHEST_STRUCTURES = ("lung", "pleura", "hemithorax")
"""Structures in which findings of the lungs and the pleura are searched."""

ENCLOSING_STRUCTURES = ("thorax", "body")
"""Structures that contain these."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """Maps and decision of a question, before anything is outlined.

    Attributes:
        heat: Scores, [slab y x]: zero outside the searched region, NaN where nothing was seen.
        thorax: Chest of the scan; None where the question is not about it.
        regions: Searched regions by name: ``searched``; for a question for both sides also ``right`` and ``left``.
        calibration: Calibration of the term; None where the model has none.
        decision: Present, absent or unsure.
        peak: Index into ``heat`` of the highest evidence in the searched region.
    """

    heat: Heat
    thorax: Thorax | None
    regions: dict[str, Region]
    calibration: Calibration | None
    decision: Decision
    peak: tuple[int, int, int]


def calibrated_phrase(query: Query, card: ModelCard, language: Language) -> list[str]:
    """The phrases whose maps answer a question.

    Raises:
        QueryError: ``place-not-trained``.
    """
    return [phrase for _, phrases in _sought(query, card, language) for phrase in phrases]


def _sought(query: Query, card: ModelCard, language: Language) -> list[tuple[str, list[str]]]:
    """Terms with their calibration's name, and the phrases of each map; several are united.

    A finding has one map, and one more for each kind of it: a mass is a lesion.
    """
    finding, structure = query.finding, query.structure
    if finding is None:
        assert structure is not None  # a question without a finding has one
        if query.side in ("left", "right"):
            return [(structure.id, [f"{query.side} {structure.phrase}"])]
        both = [f"{side} {structure.phrase}" for side in SIDES.values()] if structure.paired else []
        return [(structure.id, [structure.phrase, *both])]
    usual = (*CHEST_STRUCTURES, *ENCLOSING_STRUCTURES, finding.within)
    if structure is not None and structure.id not in usual:
        raise QueryError(
            f"{query.text!r} is for a {finding.name} in the {structure.name}",
            expected="a place in the chest",
            remedy="ask tips_med, which knows what the model was trained on elsewhere",
            code="place-not-trained",
        )
    taught = card.places.get(finding.id) or ((finding.within or "lung",) if "lung" in card.structures else ())
    if structure is not None and taught and structure.id not in taught and not set(taught) & set(CHEST_STRUCTURES):
        raise QueryError(
            f"{query.text!r} is for a {finding.name} in the {structure.name}",
            expected=f"a place in which the model was trained to find it: {', '.join(taught)}",
            code="place-not-trained",
        )
    kinds = [finding, *(language.findings[kind] for kind in finding.kinds if kind in language.findings)]
    return [(kind.id, [kind.phrase]) for kind in kinds]


def assess(
    study: Study,
    query: Query,
    card: ModelCard,
    language: Language,
    map_of: Callable[[str], Heat],
    thorax_of: Callable[[Study], Thorax],
) -> Assessment:
    """Assesses what of the searched region the scan shows, and decides what is in it.

    Args:
        study: The encoded scan.
        query: The question.
        card: Card of the model.
        language: Its words.
        map_of: Gives the map of a phrase.
        thorax_of: Gives the chest of a study.
    """
    thorax = thorax_of(study) if _in_chest(query, card) else None
    regions = _regions(study, query, thorax)
    searched = regions["searched"]
    notes = searched.notes
    candidates = []
    for term, phrases in _sought(query, card, language):
        maps = [map_of(phrase) for phrase in phrases]
        heat = np.fmax.reduce(maps) if len(maps) > 1 else maps[0]
        heat = np.where(study.body.inside | np.isnan(heat), heat, np.float32(0))
        candidates.append((card.calibration_of(term), heat, evidence_within(heat, searched.mask)))

    def decided(region: Region) -> tuple[Decision, int]:
        made = []
        for calibration, _, logits in candidates:
            logit, _ = peak_logit(logits, region.mask)
            made.append(decide_presence(logit, calibration, region.coverage, notes=notes))
        best = max(range(len(made)), key=lambda n: (made[n].probability or 0.0, made[n].score))
        return made[best], best

    decision, best = decided(searched)
    if query.side == "both" and "right" in regions:
        sides = {name: decided(regions[name])[0] for name in ("right", "left")}
        decision = combine_sides(sides, negated=False, notes=notes)
    calibration, _, logits = candidates[best]
    heat = np.fmax.reduce([heat for _, heat, _ in candidates]) if len(candidates) > 1 else candidates[0][1]
    heat = np.where(searched.mask | np.isnan(heat), heat, np.float32(0))
    _, peak = peak_logit(logits, searched.mask)
    return Assessment(heat, thorax, regions, calibration, decision, peak)


def _in_chest(query: Query, card: ModelCard) -> bool:
    """Whether a question is about something in the lungs or around them, and the model knows these."""
    if "lung" not in card.structures:
        return False
    if query.finding is None:
        return query.structure is not None and query.structure.id in CHEST_STRUCTURES
    place = query.structure.id if query.structure else query.finding.within or "lung"
    return place in CHEST_STRUCTURES or place in ENCLOSING_STRUCTURES


def _regions(study: Study, query: Query, thorax: Thorax | None) -> dict[str, Region]:
    if thorax is None:
        return {"searched": _half_of_body(study, query)}
    places, outline = requested_places(query), query.finding is None
    labels = {"right": (RIGHT,), "left": (LEFT,)}.get(query.side or "", (RIGHT, LEFT))
    regions = {"searched": search_region(thorax, study.body, labels, places, outline=outline)}
    if query.side == "both":
        regions |= {
            name: search_region(thorax, study.body, (label,), places, outline=outline) for label, name in SIDES.items()
        }
    return regions


def _half_of_body(study: Study, query: Query) -> Region:
    """The body, or its half on the searched side; its coverage is not known."""
    body = study.body
    reasons: tuple[Reason, ...] = ("extent-unknown",)
    where, side_known = body.inside, True
    if query.side in ("left", "right"):
        side_known = body.midline.known
        if side_known:
            x_mm = study.lps_from_cell[0, 3] + study.lps_from_cell[0, 2] * np.arange(where.shape[2])
            left_of_it = x_mm[None, :] - body.midline.x_mm[:, None]
            within_mm = body.midline.within_mm
            on_side = left_of_it > -within_mm if query.side == "left" else left_of_it < within_mm
            where = where & on_side[:, None, :]
        else:
            reasons = ("side-unknown", *reasons)
    notes: tuple[Reason, ...] = ("location-unchecked",) if requested_places(query) else ()
    return Region(where, Coverage(0.0, False, side_known, True, reasons), notes)
