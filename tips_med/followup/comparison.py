"""Two scans of one patient, asked the same: what became of each finding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import QueryError
from tips_med.followup.change import Change, decide_change
from tips_med.followup.matching import Match, match_findings, places
from tips_med.followup.noise import OTHER_SLICES_NOISE, VolumeNoise, noise_between
from tips_med.followup.quality import Quality
from tips_med.followup.registration import Registration, check_modalities, register
from tips_med.followup.surroundings import Searched, Tissue, around, unchanged_tissue
from tips_med.followup.wording import write_summary
from tips_med.geometry import same_grid, transform_points
from tips_med.grounding import Grounding, Instance, encode, ground
from tips_med.grounding.ground import adapters_of, default_model, parse_query
from tips_med.model import GroundingModel
from tips_med.progress import ProgressCallback
from tips_med.query import Query
from tips_med.scan import Scan

_CHECKED_POINTS = 300
"""Number of points of a finding that are sought in the other scan."""

_MIN_POINTS = 8
"""Minimum number of points that tell whether tissue looks alike."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What became of what was queried.

    Attributes:
        query: The query, as parsed, without a size: a finding that grows would leave it.
        prior: Answer about the prior scan.
        current: Answer about the current scan.
        registration: Registration of the two scans.
        changes: What became of each finding; new ones, gone ones and those that both answers have.
        noise: Repeat noise that the limits of the changes are made of.
        notes: What else a reader of it has to know, one sentence each.
        sentence: The result in words.
    """

    query: Query
    prior: Grounding
    current: Grounding
    registration: Registration
    changes: tuple[Change, ...]
    noise: VolumeNoise
    notes: tuple[str, ...]
    sentence: str


def compare(
    prior: EncodedStudy | Scan,
    current: EncodedStudy | Scan,
    query: str | Query,
    model: GroundingModel | None = None,
    registration: Registration | None = None,
    noise: VolumeNoise | None = None,
) -> Comparison:
    """Compares two scans of one patient.

    Args:
        prior: Earlier scan, or its encoded study.
        current: Later scan, or its encoded study.
        query: Finding to compare, in words or parsed. A negated query is about the same finding.
        model: The shipped one when None; must be the one that encoded the studies.
        registration: Registration of the two, from ``register`` or an earlier comparison; made when None, in some ten
            seconds.
        noise: Repeat noise of volumes; that of the shipped weights when None, see ``noise_between``.

    Raises:
        QueryError: ``no-finding`` (a structure alone cannot grow), or as ``ground`` raises it.
        ModalityError: ``different-modality``, or ``not-registered`` (no CT).
        WeightsError: A study was encoded by another model.
    """
    model = model or default_model()
    parsed = comparable_query(query, model)
    # A finding that grows would leave the size that was asked for.
    asked = dataclasses.replace(parsed, measurement_mm=None)
    if isinstance(prior, Scan):
        prior = encode(prior, model, adapters=adapters_of((asked,), model))
    if isinstance(current, Scan):
        current = encode(current, model, adapters=adapters_of((asked,), model))
    check_modalities(prior, current)
    answers = ground(prior, asked, model), ground(current, asked, model)
    registration = registration or register(prior, current, model)
    matches = match_findings(*answers, registration)
    noise = noise or noise_between(float(prior.scan.spacing_mm[0]), float(current.scan.spacing_mm[0]))
    leave_out = _touched(answers, registration)
    seekers = Searched(prior, asked, model), Searched(current, asked, model)
    changes = tuple(
        _changed(number, match, answers, registration, leave_out, seekers, noise)
        for number, match in enumerate(matches, start=1)
    )
    notes = _notes(parsed, prior.scan, current.scan, registration.quality, noise)
    return Comparison(asked, *answers, registration, changes, noise, notes, write_summary(asked, *answers, changes))


def compare_queries(
    prior: EncodedStudy,
    current: EncodedStudy,
    queries: Sequence[str | Query],
    model: GroundingModel,
    registration: Registration,
    progress: ProgressCallback | None = None,
) -> list[Comparison]:
    """``compare`` for several queries, with one registration.

    Args:
        prior: Encoded earlier scan.
        current: Encoded later scan.
        queries: Findings to compare.
        model: Model that encoded both.
        registration: Registration of the two.
        progress: Called with (queries done, total queries).
    """
    made = []
    for n, query in enumerate(queries, start=1):
        made.append(compare(prior, current, query, model, registration))
        if progress is not None:
            progress(n, len(queries))
    return made


def comparable_query(query: str | Query, model: GroundingModel) -> Query:
    """A query whose findings can be compared.

    Raises:
        QueryError: ``no-finding``, or as ``parse_query`` raises it.
    """
    parsed = parse_query(query, model)
    if parsed.finding is None:
        raise QueryError(
            f"the query {parsed.text!r} is for a structure, and only findings are compared",
            expected="a finding, such as nodule or pleural effusion",
            remedy="name a finding, or query each scan with tips-med ground",
            code="no-finding",
        )
    return parsed


def same_scan(prior: Scan, current: Scan) -> bool:
    """Whether both are one and the same volume."""
    if prior.shape != current.shape or not same_grid(prior.lps_from_kji, current.lps_from_kji, prior.shape):
        return False
    return bool(np.array_equal(prior.voxels, current.voxels, equal_nan=True))


def _notes(query: Query, prior: Scan, current: Scan, quality: Quality, noise: VolumeNoise) -> tuple[str, ...]:
    notes = []
    if noise is OTHER_SLICES_NOISE:
        prior_mm, current_mm = (float(one.spacing_mm[0]) for one in (prior, current))
        notes.append(
            f"The distance between slices differs ({prior_mm:g} and {current_mm:g} mm), so that volumes agree less: "
            "the limits are wider."
        )
    if same_scan(prior, current):
        notes.append("Both are the same scan, so that nothing can have changed.")
    if not quality.good:
        found = "unknown" if np.isnan(quality.correlation) else f"{quality.correlation:.2f}"
        notes.append(
            f"The scans could not be registered well (correlation of the lungs' fine structure {found}): they may show "
            "too little in common, or two patients."
        )
    if query.measurement_mm is not None:
        notes.append("The size in the query was left out: what grows would leave it.")
    return tuple(notes)


def _changed(
    number: int,
    match: Match,
    answers: tuple[Grounding, Grounding],
    registration: Registration,
    leave_out: np.ndarray,
    seekers: tuple[Searched, Searched],
    noise: VolumeNoise,
) -> Change:
    """One change: where it is in both scans, what the scan without it shows there, and what that means."""
    prior, current = (_instances(one, labels) for one, labels in zip(answers, (match.prior, match.current)))
    if current:
        points = _points(answers[1], match.current)
        elsewhere = registration.points_in_prior(points)
        current_lps = points.mean(axis=0)
        prior_lps = _points(answers[0], match.prior).mean(axis=0) if prior else elsewhere.mean(axis=0)
        seen = None if prior else seekers[0].at(elsewhere, _tissue(answers[1], match.current))
    else:
        points = _points(answers[0], match.prior)
        elsewhere = registration.points_in_current(points)
        prior_lps, current_lps = points.mean(axis=0), elsewhere.mean(axis=0)
        seen = seekers[1].at(elsewhere, _tissue(answers[0], match.prior))
    quality = registration.quality
    correlation = quality.near(current_lps, leave_out)
    status, reasons, volume = decide_change(
        *answers,
        sum(one.volume_ml for one in prior),
        sum(one.volume_ml for one in current),
        registered=quality.good,
        local_correlation=correlation,
        doubtful=match.doubtful,
        elsewhere=seen,
        alike=bool(prior and current) and _difference_looks_alike(match, answers, registration),
        noise=noise,
    )
    return Change(
        number,
        status,
        reasons,
        prior,
        current,
        volume,
        _point(prior_lps),
        _point(current_lps),
        match.distance_mm,
        correlation,
        seen,
    )


def _difference_looks_alike(match: Match, answers: tuple[Grounding, Grounding], registration: Registration) -> bool:
    """Whether both scans show the same tissue where only the larger of two outlines is.

    What grew has tissue now where there was lung before. Where both scans show the same there, the outlines differ
    and not the finding.
    """
    volumes = [
        sum(one.volume_ml for one in _instances(answer, labels))
        for answer, labels in zip(answers, (match.prior, match.current))
    ]
    if volumes[1] >= volumes[0]:
        larger, smaller, own, other, mapped = (
            *reversed(answers),
            match.current,
            match.prior,
            registration.points_in_prior,
        )
    else:
        larger, smaller, own, other, mapped = *answers, match.prior, match.current, registration.points_in_current
    points = _points(larger, own)
    there = mapped(points)
    extra = ~_inside(smaller, other, there)
    if extra.sum() < _MIN_POINTS:
        return False
    index = np.rint(transform_points(np.linalg.inv(larger.scan.lps_from_kji), points[extra])).astype(int)
    density_hu = float(np.nanmean(larger.scan.voxels[tuple(index.T)]))
    return unchanged_tissue(smaller.scan, there[extra], density_hu)


def _inside(answer: Grounding, labels: tuple[int, ...], points_lps: np.ndarray) -> np.ndarray:
    """Which places lie in some instances of an answer, bool [n]."""
    index = np.rint(transform_points(np.linalg.inv(answer.scan.lps_from_kji), points_lps)).astype(int)
    within = ((index >= 0) & (index < answer.labels.shape)).all(axis=1)
    found = np.zeros(len(index), bool)
    found[within] = np.isin(answer.labels[tuple(index[within].T)], labels)
    return found


def _instances(answer: Grounding, labels: tuple[int, ...]) -> tuple[Instance, ...]:
    chosen = [one for one in answer.instances if one.label in labels]
    return tuple(sorted(chosen, key=lambda one: -one.volume_ml))


def _points(answer: Grounding, labels: tuple[int, ...]) -> np.ndarray:
    index = np.argwhere(np.isin(answer.labels, labels))
    return transform_points(answer.scan.lps_from_kji, index[:: max(1, len(index) // _CHECKED_POINTS)])


def _tissue(answer: Grounding, labels: tuple[int, ...]) -> Tissue:
    """Density of some instances, weighted by their volume, and of what is about them."""
    some = _instances(answer, labels)
    density_hu = float(np.average([one.mean_hu for one in some], weights=[one.volume_ml for one in some]))
    return Tissue(density_hu, around(answer.scan, np.isin(answer.labels, labels)))


def _touched(answers: tuple[Grounding, Grounding], registration: Registration) -> np.ndarray:
    """The cells of the registration's grid that a finding of either scan touches."""
    quality = registration.quality
    touched = np.zeros(quality.structure.shape[1:], bool)
    index_from_lps = np.linalg.inv(quality.lps_from_kji)
    for answer in answers:
        for place in places(answer):
            points = place.points_lps
            if answer is answers[0]:
                points = registration.points_in_current(points[:: max(1, len(points) // _CHECKED_POINTS)])
            cells = np.rint(transform_points(index_from_lps, points)).astype(int)
            cells = cells[((cells >= 0) & (cells < touched.shape)).all(axis=1)]
            touched[tuple(cells.T)] = True
    return touched


def _point(place: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in place)
    return x, y, z
