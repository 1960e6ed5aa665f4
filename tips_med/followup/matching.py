"""Which finding of the prior scan is which of the current one: by overlap and distance in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tips_med.followup.registration import Registration
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding

REACH_MM = 6.0
"""Distance between the surfaces of two findings, taken as spheres, up to which they may be one: errors of registration
are smaller in nearly all of the lung (``docs/follow-up.md``)."""

DOUBT_MM = 25.0
"""Distance between the middles of two findings up to which it is not certain that they are two."""

JOINED = 0.5
"""Share of a finding that lies in an already matched one of the other scan, from which on it belongs to it."""

_POINTS = 2000
"""Maximum number of voxels of a finding that are moved."""


@dataclass(frozen=True, eq=False)
class Place:
    """One finding of one scan, as points.

    Attributes:
        label: Its number in the answer of its scan.
        ml: Volume in ml.
        points_lps: Centres of its voxels (or of some of them, evenly chosen) in its own scan, LPS in mm, [n 3].
    """

    label: int
    ml: float
    points_lps: np.ndarray

    @property
    def middle_lps(self) -> np.ndarray:
        """The centroid, LPS in mm, [3]."""
        return self.points_lps.mean(axis=0)

    @property
    def radius_mm(self) -> float:
        """The radius of a sphere of the same volume."""
        return (3000.0 * self.ml / (4 * np.pi)) ** (1 / 3)


@dataclass(frozen=True)
class Match:
    """Findings that are one and the same: several where it split, or where several grew together.

    Attributes:
        prior: Labels in the prior answer; empty for a finding without a counterpart there.
        current: Labels in the current answer; empty likewise.
        doubtful: Whether an unmatched finding of the other scan lies so near that this may be the same.
        distance_mm: Distance between the centroids after registration; None without a counterpart.
    """

    prior: tuple[int, ...]
    current: tuple[int, ...]
    doubtful: bool = False
    distance_mm: float | None = None


def places(grounding: Grounding) -> list[Place]:
    """The findings of an answer, in the order of their labels."""
    found = []
    for instance in grounding.instances:
        index = np.argwhere(grounding.labels == instance.label)
        index = index[:: max(1, len(index) // _POINTS)]
        found.append(Place(instance.label, instance.volume_ml, transform_points(grounding.scan.lps_from_kji, index)))
    return found


def match_findings(prior: Grounding, current: Grounding, registration: Registration) -> list[Match]:
    """Matches the findings of two answers one to one, and joins parts to what they belong to.

    Args:
        prior: Answer about the prior scan.
        current: Answer about the current scan.
        registration: Registration of the two.

    Returns:
        Each finding of either answer once: those of the current answer by label, then the rest of the prior one.
    """
    before, now = places(prior), places(current)
    moved = [registration.points_in_prior(one.points_lps) for one in now]
    inside = _shares_inside(prior, before, moved)
    apart = np.array([[np.linalg.norm(points.mean(axis=0) - one.middle_lps) for points in moved] for one in before])
    pairs = _assign(before, now, inside, apart)
    prior_of = {c: [p] for p, c in pairs}
    current_of = {p: [c] for p, c in pairs}
    for c in set(range(len(now))) - set(prior_of):  # it split
        if before and inside[:, c].max() >= JOINED and (p := int(inside[:, c].argmax())) in current_of:
            current_of[p].append(c)
            prior_of[c] = [p]
    for p in set(range(len(before))) - set(current_of):  # several grew together
        shares = [inside[p, c] * now[c].ml / before[p].ml for c in range(len(now))]
        c = int(np.argmax(shares)) if shares else -1
        # One that split is not joined by a third: what belongs to what would be a guess.
        if c in prior_of and shares[c] >= JOINED and len(current_of[prior_of[c][0]]) == 1:
            prior_of[c].append(p)
            current_of[p] = [c]
    lone_now = [c for c in range(len(now)) if c not in prior_of]
    lone_before = [p for p in range(len(before)) if p not in current_of]
    near = {(p, c) for p in lone_before for c in lone_now if apart[p, c] <= DOUBT_MM}
    found, done = [], set()
    for c in range(len(now)):
        if c in lone_now:
            found.append(Match((), (now[c].label,), any(c == other for _, other in near)))
            continue
        if c in done:
            continue
        ours = sorted(prior_of[c])
        theirs = sorted({one for p in ours for one in current_of[p]})
        done.update(theirs)
        first = next((p, q) for p, q in pairs if p in ours and q in theirs)
        labels = tuple(before[p].label for p in ours), tuple(now[q].label for q in theirs)
        found.append(Match(*labels, distance_mm=float(apart[first])))
    found += [Match((before[p].label,), (), any(p == other for other, _ in near)) for p in lone_before]
    return found


def _shares_inside(prior: Grounding, before: Sequence[Place], moved: Sequence[np.ndarray]) -> np.ndarray:
    """The share of each current finding that lies in each prior one, [prior current]."""
    shares = np.zeros((len(before), len(moved)))
    index_from_lps = np.linalg.inv(prior.scan.lps_from_kji)
    for c, points in enumerate(moved):
        index = np.rint(transform_points(index_from_lps, points)).astype(int)
        within = ((index >= 0) & (index < prior.scan.shape)).all(axis=1)
        hit = prior.labels[tuple(index[within].T)]
        for p, one in enumerate(before):
            shares[p, c] = np.count_nonzero(hit == one.label) / len(points)
    return shares


def _assign(
    before: Sequence[Place], now: Sequence[Place], inside: np.ndarray, apart: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs of indices that overlap, or lie within reach of each other: the assignment with the best sum of scores.

    The score is the overlap's Dice plus a closeness between 0 and 1, so that overlap counts first.
    """
    if not before or not now:
        return []
    score = np.zeros((len(before), len(now)))
    for p, one in enumerate(before):
        for c, other in enumerate(now):
            dice = 2 * inside[p, c] * other.ml / (one.ml + other.ml)
            reach = REACH_MM + one.radius_mm + other.radius_mm
            if dice > 0 or apart[p, c] <= reach:
                score[p, c] = 1e-6 + dice + max(0.0, 1 - apart[p, c] / reach)
    chosen = linear_sum_assignment(score, maximize=True)
    return [(int(p), int(c)) for p, c in zip(*chosen) if score[p, c] > 0]
