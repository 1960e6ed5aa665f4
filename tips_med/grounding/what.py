"""Ask in reverse: a place of the scan, and the terms of the model that fit best there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from scipy import ndimage

from tips_med.card import Calibration
from tips_med.encoders.base import TextFeatures
from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.geometry import CONNECTIVITY_18, grid_corners, spacing_mm, transform_points
from tips_med.grounding.encoding import make_features
from tips_med.grounding.evidence import evidence_map
from tips_med.grounding.ground import default_model, ensure_same_weights
from tips_med.grounding.instances import place_of_cells
from tips_med.grounding.lobes import lobes_of_cells
from tips_med.grounding.maps import CHEST_STRUCTURES, probability_map, structure_phrases, study_thorax
from tips_med.grounding.thorax import Thorax
from tips_med.grounding.wording import lobes_in_words
from tips_med.model import GroundingModel
from tips_med.query import Term
from tips_med.shapes import Affine, Heat, Mask

FitState = Literal["likely", "unsure", "unlikely", "uncalibrated"]

Omission = Literal["outside-body", "not-measured", "outside-chest", "no-lung-seen"]
"""Codes for why nothing, or no finding of the lungs, is named at a place; see ``OMISSIONS``."""

OMISSIONS: dict[Omission, str] = {
    "outside-body": "the place is outside the body",
    "not-measured": "the scan measured nothing there",
    "outside-chest": "the model was taught these in and around the lungs, and the place is elsewhere",
    "no-lung-seen": "the model was taught these in and around the lungs, and no lung is seen in this scan",
}
"""What the codes mean, in words."""

REACH_MM = 40.0
"""How far from a point the instance that it is a point of is followed."""

NAMED = 3
"""Maximum number of findings that the sentence names."""


@dataclass(frozen=True)
class Fit:
    """How well one term fits a place.

    Attributes:
        term: The term.
        state: ``likely`` and ``unlikely`` are above and below the thresholds that make a finding present and absent;
            ``uncalibrated`` where the model has no calibration for it.
        probability: Calibrated probability, 0 to 1, of what the strongest evidence in the place shows, as
            ``Instance.score``; comparable between terms. Where a mask of the term would mark a point, it is that of
            the marked instance. None where the model has no calibration for the term.
        score: The same evidence as a score of the model, 0 to 1; not comparable between terms.
        marked_fraction: Share of the place that a mask of the term would mark, 0 to 1.
    """

    term: Term
    state: FitState
    probability: float | None
    score: float
    marked_fraction: float


@dataclass(frozen=True)
class Identification:
    """The terms that fit a place.

    Attributes:
        at_lps: Place, or centre of the region, LPS in mm.
        region: Place in words: ``lower third of the left lung``; empty where it is not known.
        lobes: Lobes in which it may lie by estimate, ``left lower lobe``; empty where nothing can be said.
        side: Side of the patient; None where it has none, or it is not known.
        mean_hu: Mean of the scan's voxels there, in its unit; NaN where none was measured.
        measured_fraction: Share of the region that the scan measured and the model looked at, 0 to 1.
        findings: Findings that were compared, the best first; those without a calibration last.
        structures: Structures that were compared, the best first.
        omitted: Findings that the model knows and that were not compared here.
        reasons: Codes for why; see ``OMISSIONS``.
        unknown: Findings of the lexicon that the model does not know: it cannot name them anywhere.
        sentence: The same in words.
        model: Name and short hash of the weights that answered.
    """

    at_lps: tuple[float, float, float]
    region: str
    lobes: tuple[str, ...]
    side: Literal["left", "right", "both"] | None
    mean_hu: float
    measured_fraction: float
    findings: tuple[Fit, ...]
    structures: tuple[Fit, ...]
    omitted: tuple[Term, ...]
    reasons: tuple[Omission, ...]
    unknown: tuple[Term, ...]
    sentence: str
    model: str


def what(
    study: EncodedStudy,
    place: Sequence[float] | Mask,
    model: GroundingModel | None = None,
) -> Identification:
    """Gives the terms that fit best at a place of the scan.

    Every finding and structure that the model knows is compared, each by its own calibration; what it does not know,
    or was not taught in such a place, is listed and not guessed. Features of adapters that answer some of these are
    made where the study lacks them.

    Args:
        study: Encoded study.
        place: Point, (x, y, z) LPS in mm; or a region, bool [k j i] on the scan's own grid.
        model: The shipped one when None; must be the one that encoded the study.

    Raises:
        QueryError: ``outside-scan`` for a point that is not in the scan, ``empty-region`` for a region without
            voxels, ``bad-region`` for anything else.
        WeightsError: The study was encoded by another model.
    """
    model = model or default_model()
    ensure_same_weights(study, model)
    voxels, at_lps = _voxels_of(study, place)
    values = study.scan.voxels[tuple(voxels.T)]
    mean_hu = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    cell_from_lps = np.linalg.inv(_lps_from_cell(study))
    points = np.array([at_lps]) if len(voxels) == 1 else transform_points(study.scan.lps_from_kji, voxels)
    cells, share = _cells_of(points, cell_from_lps, study, np.isfinite(values))
    lexicon, card = model.lexicon, model.card
    reasons: list[Omission] = []
    if not len(cells):
        reasons.append("not-measured" if share == 0 and not np.isfinite(values).any() else "outside-body")
    thorax = study_thorax(study, model) if "lung" in card.structures else None
    side, region = place_of_cells(cells, thorax) if thorax is not None and thorax.seen and len(cells) else (None, "")
    lobes = lobes_of_cells(cells, thorax) if thorax is not None and region and not region.startswith("outside") else ()
    chest = _in_chest(cells, thorax)
    compared, omitted = [], []
    for term in (lexicon.term(one) for one in card.findings):
        taught = card.places.get(term.id) or ((term.within or "lung",) if thorax is not None else ())
        (omitted if not len(cells) or (set(taught) & set(CHEST_STRUCTURES) and not chest) else compared).append(term)
    if len(cells) and omitted:
        reasons.append("outside-chest" if thorax is not None and thorax.seen else "no-lung-seen")
    around = [lexicon.term(one) for one in card.structures] if len(cells) else []
    make_features(study, adapters_of_terms([*compared, *around], model), model)  # all of them in one pass
    findings, structures = ([_fit(study, term, cells, model) for term in terms] for terms in (compared, around))
    unknown = tuple(term for term in lexicon.terms if term.kind == "finding" and term.id not in card.findings)
    ordered = tuple(sorted(findings, key=_rank))
    return Identification(
        at_lps=at_lps,
        region=region,
        side=side,
        lobes=lobes,
        mean_hu=mean_hu,
        measured_fraction=share,
        findings=ordered,
        structures=tuple(sorted(structures, key=_rank)),
        omitted=tuple(omitted),
        reasons=tuple(reasons),
        unknown=unknown,
        sentence=_sentence(ordered, omitted, reasons, _where(region, lobes, structures, mean_hu, study.scan.unit)),
        model=model.identity,
    )


def adapters_of_terms(terms: Iterable[Term], model: GroundingModel) -> tuple[int, ...]:
    """Numbers of the adapters that answer any of some findings and structures, rising, from 1."""
    phrases = {phrase for term in terms for phrase in _phrases(term)}
    return tuple(sorted({model.adapter_of(phrase) for phrase in phrases} - {0}))


def _phrases(term: Term) -> list[str]:
    """The phrases that a term is compared by."""
    return [" ".join(term.forms[0].words)] if term.kind == "finding" else structure_phrases(term)


def _voxels_of(study: EncodedStudy, place: Sequence[float] | Mask) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The voxels of a place, [n 3], and its centre in LPS mm."""
    scan, given = study.scan, np.asarray(place)
    if given.shape == scan.shape and given.dtype == bool:
        voxels = np.argwhere(given)
        if not len(voxels):
            raise QueryError("the region has no voxels", expected="a mask of at least one voxel", code="empty-region")
        x, y, z = (float(v) for v in transform_points(scan.lps_from_kji, voxels.mean(axis=0))[0])
        return voxels, (x, y, z)
    if given.shape != (3,) or given.dtype == bool or not np.isfinite(given.astype(float)).all():
        raise QueryError(
            f"the place is an array of shape {given.shape}",
            expected=f"a point (x, y, z) in LPS mm, or a bool mask of the scan's shape {scan.shape}",
            code="bad-region",
        )
    x, y, z = (float(v) for v in given)
    voxel = np.rint(transform_points(np.linalg.inv(scan.lps_from_kji), np.array((x, y, z)))).astype(int)
    if (voxel < 0).any() or (voxel >= scan.shape).any():
        corners = grid_corners(scan.lps_from_kji, scan.shape)
        low, high = (",".join(f"{v:.0f}" for v in end) for end in (corners.min(axis=0), corners.max(axis=0)))
        raise QueryError(
            f"the place {x:.0f},{y:.0f},{z:.0f} is not in the scan",
            expected=f"LPS in mm, between {low} and {high}",
            remedy="take it from peak_lps of an answer; signs of x and y are opposite in RAS (NIfTI)",
            code="outside-scan",
        )
    return voxel, (x, y, z)


def _cells_of(
    points: np.ndarray, cell_from_lps: np.ndarray, study: EncodedStudy, measured: np.ndarray
) -> tuple[np.ndarray, float]:
    """The measured cells of the body that hold some of these points, [n 3], and the share of the points in them."""
    index = np.rint(transform_points(cell_from_lps, points)).astype(int)
    inside = measured & (index >= 0).all(axis=1) & (index < study.seen.shape).all(axis=1)
    looked_at = study.body.inside & study.seen.numpy()
    inside[inside] = looked_at[tuple(index[inside].T)]
    return np.unique(index[inside], axis=0), float(inside.mean())


def _in_chest(cells: np.ndarray, thorax: Thorax | None) -> bool:
    """Whether any of the cells is in or around a lung; anywhere is for a model that does not know lungs."""
    return thorax is None or (thorax.seen and bool(len(cells)) and bool((thorax.side[tuple(cells.T)] > 0).any()))


def _fit(study: EncodedStudy, term: Term, cells: np.ndarray, model: GroundingModel) -> Fit:
    calibration = model.card.calibration_of(term.id)
    threshold = (calibration or Calibration()).threshold
    texts = model.text.embed(_phrases(term))
    heat, start = _map_about(study, texts, cells, (1, 1, 1), model)
    at = tuple((cells - start).T)
    marked = heat[at] >= threshold
    logit = float(evidence_map(heat)[at].max())
    if len(cells) == 1 and marked.any():
        # A point within what the term's mask marks is a point of that instance, which has one score.
        step = spacing_mm(_lps_from_cell(study))
        heat, start = _map_about(study, texts, cells, tuple(int(n) for n in np.ceil(REACH_MM / step)), model)
        components, _ = cast("tuple[np.ndarray, int]", ndimage.label(heat >= threshold, CONNECTIVITY_18))
        own = components == components[tuple((cells - start).T)]
        logit = float(evidence_map(heat)[own].max())
    score = 1 / (1 + float(np.exp(-logit)))
    share = float(marked.mean())
    if calibration is None:
        return Fit(term, "uncalibrated", None, score, share)
    probability = calibration.probability(logit)
    likely, unlikely = probability >= calibration.present_above, probability < calibration.absent_below
    return Fit(term, "likely" if likely else "unlikely" if unlikely else "unsure", probability, score, share)


def _map_about(
    study: EncodedStudy,
    texts: Sequence[TextFeatures],
    cells: np.ndarray,
    margin: tuple[int, ...],
    model: GroundingModel,
) -> tuple[Heat, np.ndarray]:
    """The map of some phrases in a box around cells, and the index of the box's first cell."""
    start = np.maximum(0, cells.min(axis=0) - margin)
    stop = cells.max(axis=0) + margin + 1
    slabs, rows, columns = (slice(int(a), int(min(b, n))) for a, b, n in zip(start, stop, study.seen.shape))
    maps = [probability_map(study, text, model, slabs)[:, rows, columns] for text in texts]
    heat = np.fmax.reduce(maps) if len(maps) > 1 else maps[0]
    inside = study.body.inside[slabs, rows, columns]
    return np.where(inside | np.isnan(heat), heat, np.float32(0)), start


def _lps_from_cell(study: EncodedStudy) -> Affine:
    lps_from_fine = study.features.lps_from_fine
    return study.features.lps_from_patch if lps_from_fine is None else lps_from_fine


def _rank(fit: Fit) -> tuple[bool, float, float]:
    """By probability and by how much of the place it would fill: a corner of a region is not what the region is."""
    best = fit.probability if fit.probability is not None else fit.score
    return fit.probability is None, -best * (0.5 + 0.5 * fit.marked_fraction), -fit.score


def _where(region: str, lobes: Sequence[str], structures: Sequence[Fit], mean_hu: float, unit: str) -> str:
    """The place in words, with its mean value."""
    where = "Here"
    if region.startswith(("outside", "one", "both")):
        where += f", {region}"
    elif region:
        # Nearest is not in: a vertebra is beside a lung.
        where = f"{'In' if any(fit.state == 'likely' for fit in structures) else 'Near'} the {region}"
    about = [f"{named} by estimate"] if (named := lobes_in_words(lobes)) and where.startswith("In ") else []
    about += [f"mean {f'{mean_hu:.0f} {unit}'.strip()}"] if np.isfinite(mean_hu) else []
    return f"{where} ({', '.join(about)})" if about else where


def _sentence(findings: Sequence[Fit], omitted: Sequence[Term], reasons: Sequence[Omission], where: str) -> str:
    if "outside-body" in reasons or "not-measured" in reasons:
        return f"{where}: nothing is named, {OMISSIONS[reasons[0]]}."
    by_state: Mapping[str, list[str]] = {
        state: [_named(fit) for fit in findings if fit.state == state][:NAMED]
        for state in ("likely", "unsure", "uncalibrated")
    }
    parts = [", ".join(by_state["likely"])] if by_state["likely"] else []
    if by_state["unsure"]:
        parts.append(f"perhaps {', '.join(by_state['unsure'])}")
    if by_state["uncalibrated"]:
        parts.append(f"not calibrated: {', '.join(by_state['uncalibrated'])}")
    named = "; ".join(parts) or "none of the findings that this model knows fits"
    if not findings:
        named = f"no finding is named, {OMISSIONS[reasons[-1]]}" if reasons else "this model knows no findings"
    text = f"{where}: {named}."
    if findings:
        text += f" {len(findings)} findings were compared; anything else is not known to this model."
    if findings and omitted:
        text += f" Not compared here: {', '.join(term.name for term in omitted)}."
    return text


def _named(fit: Fit) -> str:
    number = f"score {fit.score:.2f}" if fit.probability is None else f"{fit.probability:.2f}"
    return f"{fit.term.name} ({number})"
