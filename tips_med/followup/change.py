"""New, gone, grown, shrunk, stable or unsure: what became of a finding, and the only place that decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tips_med.followup.noise import REPEAT_NOISE, VolumeChange, VolumeNoise, volume_change
from tips_med.followup.quality import MIN_LOCAL_CORRELATION
from tips_med.followup.surroundings import MIN_SEEN, Surroundings
from tips_med.grounding import Grounding, Instance
from tips_med.grounding.wording import place_in_words

Status = Literal["new", "gone", "grown", "shrunk", "stable", "unsure"]

UnsureReason = Literal[
    "poor-registration",
    "poor-registration-here",
    "prior-unsure",
    "current-unsure",
    "not-seen-in-prior",
    "not-seen-in-current",
    "not-searched-in-prior",
    "not-searched-in-current",
    "evidence-in-prior",
    "evidence-in-current",
    "looks-alike",
    "within-noise",
    "match-doubtful",
]

REASONS: dict[UnsureReason, str] = {
    "poor-registration": "the two scans could not be registered well enough to compare places",
    "poor-registration-here": "the two scans do not agree well near this finding",
    "prior-unsure": "the answer about the prior scan is unsure",
    "current-unsure": "the answer about the current scan is unsure",
    "not-seen-in-prior": "the prior scan does not show this place",
    "not-seen-in-current": "the current scan does not show this place",
    "not-searched-in-prior": "this place is outside the region that was searched in the prior scan",
    "not-searched-in-current": "this place is outside the region that was searched in the current scan",
    "evidence-in-prior": "the prior scan has some evidence of it there, which was not outlined",
    "evidence-in-current": "the current scan has some evidence of it there, which was not outlined",
    "looks-alike": "the tissue there looks the same in both scans",
    "within-noise": "the volumes differ by more than is called stable, and repeat noise alone may explain it",
    "match-doubtful": "a finding of the other scan is so near that it may be the same",
}
"""What the codes of ``Change.reasons`` mean, in words."""

STABLE_RATIO = 1.5
"""Maximum ratio of two volumes that are called stable: noise that hides a doubling must not hide it as *stable*."""


@dataclass(frozen=True)
class Change:
    """What became of one finding.

    Attributes:
        number: Number in the figure, the table and the label maps, from 1.
        status: ``new``, ``gone``, ``grown``, ``shrunk``, ``stable`` (within repeat noise, and within
            ``STABLE_RATIO``) or ``unsure`` (see ``reasons``).
        reasons: Codes for why it is unsure, see ``REASONS``.
        prior: Its instances in the prior answer, largest first; several where they grew together; empty without any.
        current: Its instances in the current answer, largest first; several where it split.
        volume: Both volumes, with 95% limits; None without a counterpart.
        prior_lps: Its centroid in the prior scan (where it would be, without one there), LPS in mm.
        current_lps: Its centroid in the current scan (where it would be, without one there), LPS in mm.
        distance_mm: Distance between the two centroids after registration; None without a counterpart.
        local_correlation: Correlation of fine structure around it, -1 to 1; NaN where there is too little lung.
        elsewhere: What the scan without it shows there; None where both answers have it.
    """

    number: int
    status: Status
    reasons: tuple[UnsureReason, ...]
    prior: tuple[Instance, ...]
    current: tuple[Instance, ...]
    volume: VolumeChange | None
    prior_lps: tuple[float, float, float]
    current_lps: tuple[float, float, float]
    distance_mm: float | None
    local_correlation: float
    elsewhere: Surroundings | None = None

    @property
    def region(self) -> str:
        """Region in words, of the current scan where it is there, else of the prior one."""
        return (self.current or self.prior)[0].region

    @property
    def place(self) -> str:
        """Region in words with the estimated lobe, of the current scan where it is there, else of the prior one."""
        return place_in_words((self.current or self.prior)[0])

    @property
    def prior_ml(self) -> float:
        """Volume in the prior scan in ml; 0 where it is not outlined there."""
        return sum(one.volume_ml for one in self.prior)

    @property
    def current_ml(self) -> float:
        """Volume in the current scan in ml; 0 where it is not outlined there."""
        return sum(one.volume_ml for one in self.current)


def decide_change(
    prior: Grounding,
    current: Grounding,
    prior_ml: float,
    current_ml: float,
    *,
    registered: bool,
    local_correlation: float,
    doubtful: bool,
    elsewhere: Surroundings | None,
    alike: bool = False,
    noise: VolumeNoise = REPEAT_NOISE,
) -> tuple[Status, tuple[UnsureReason, ...], VolumeChange | None]:
    """Decides what became of one finding.

    Args:
        prior: Answer about the prior scan.
        current: Answer about the current scan.
        prior_ml: Volume in the prior scan in ml; 0 without a counterpart there.
        current_ml: Volume in the current scan in ml; 0 without a counterpart there.
        registered: Whether the registration as a whole is good.
        local_correlation: Correlation of fine structure near the finding; NaN where that is not known.
        doubtful: Whether an unmatched finding of the other scan is near.
        elsewhere: What the scan without the finding shows there; None for a finding with a counterpart.
        alike: Whether both scans show the same tissue where only one of two outlines is.
        noise: Repeat noise of volumes.

    Returns:
        The status, codes for why it is unsure, and the volumes of a finding that both answers have.
    """
    reasons: list[UnsureReason] = []
    if not registered:
        reasons.append("poor-registration")
    elif not math.isnan(local_correlation) and local_correlation < MIN_LOCAL_CORRELATION:
        reasons.append("poor-registration-here")
    if prior.presence.state == "unsure":
        reasons.append("prior-unsure")
    if current.presence.state == "unsure":
        reasons.append("current-unsure")
    volume = volume_change(prior_ml, current_ml, noise) if prior_ml and current_ml else None
    if volume is None and registered:
        reasons += _missing(elsewhere, doubtful, in_prior=not prior_ml)
    if reasons:
        return "unsure", tuple(reasons), volume
    if volume is None:
        return ("gone" if prior_ml else "new"), (), None
    if volume.within_noise:
        steady = max(prior_ml, current_ml) <= STABLE_RATIO * min(prior_ml, current_ml)
        return ("stable", (), volume) if steady else ("unsure", ("within-noise",), volume)
    if alike:
        return "unsure", ("looks-alike",), volume
    return ("grown" if current_ml > prior_ml else "shrunk"), (), volume


def _missing(elsewhere: Surroundings | None, doubtful: bool, *, in_prior: bool) -> list[UnsureReason]:
    """Why it cannot be said that a scan lacks a finding that the other one has."""
    reasons: list[UnsureReason] = []
    if elsewhere is None or elsewhere.seen_fraction < MIN_SEEN:
        reasons.append("not-seen-in-prior" if in_prior else "not-seen-in-current")
    elif elsewhere.searched_fraction < MIN_SEEN:
        reasons.append("not-searched-in-prior" if in_prior else "not-searched-in-current")
    elif not elsewhere.empty:
        reasons.append("evidence-in-prior" if in_prior else "evidence-in-current")
    elif elsewhere.looks_alike:
        reasons.append("looks-alike")
    if doubtful:
        reasons.append("match-doubtful")
    return reasons
