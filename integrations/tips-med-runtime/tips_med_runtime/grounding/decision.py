# Copied from tips_med/grounding/decision.py by copies.py: change it there.
"""Present, absent or unsure: the second of the two steps of an answer, and the only place that decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tips_med_runtime.card import Calibration
from tips_med_runtime.grounding.answer import Coverage, Decision, Reason, State


def decide_presence(
    logit: float,
    calibration: Calibration | None,
    coverage: Coverage,
    *,
    negated: bool = False,
    notes: tuple[Reason, ...] = (),
) -> Decision:
    """Turns evidence and coverage into an answer.

    - Without a calibration nothing is present or absent: there is a score.
    - Present needs a high probability, and a known side and height where the query names them.
    - Absent needs a low probability, and 90% of each searched side to have been assessed
      (``coverage.MIN_ASSESSED_FRACTION``).
    - Everything else is unsure, with reasons.

    Args:
        logit: Highest evidence in the searched region (logit), from ``peak_evidence``.
        calibration: Calibration of the finding; None where the model has none for it.
        coverage: How much of the searched region was seen.
        negated: Whether the query negates the finding.
        notes: Reasons that do not change the state: parts of the query without an answer.
    """
    score = 1 / (1 + math.exp(-logit))
    if calibration is None:
        reasons: tuple[Reason, ...] = ("uncalibrated", *coverage.reasons, *notes)
        return Decision("unsure", score, None, None, coverage.assessed_fraction, reasons)
    probability = calibration.probability(logit)
    state: State = "unsure"
    reasons = ()
    unknown: list[Reason] = [reason for reason in coverage.reasons if reason in ("side-unknown", "height-unknown")]
    if probability >= calibration.present_above:
        if coverage.side_known and coverage.height_known:
            state = "present"
        else:
            reasons = tuple(unknown)
    elif probability < calibration.absent_below:
        blocked = not coverage.whole or "wider-than-trained" in coverage.reasons
        # Nothing on either side is nothing on the requested side, whichever that is.
        state = "unsure" if blocked else "absent"
        reasons = coverage.reasons if state == "unsure" else ()
    else:
        reasons = ("between-thresholds", *coverage.reasons)
    holds = None if not negated or state == "unsure" else state == "absent"
    if calibration.evidence == "painted":
        reasons = (*reasons, "painted-only")
    return Decision(
        state,
        score,
        probability,
        holds,
        coverage.assessed_fraction,
        tuple(dict.fromkeys((*reasons, *notes))),
        evidence=calibration.evidence,
        operating_point=calibration.operating_point,
        measured=calibration.measured,
    )


def combine_sides(sides: Mapping[str, Decision], *, negated: bool, notes: tuple[Reason, ...] = ()) -> Decision:
    """The answer to a query for both sides, from those to each.

    "Bilateral effusion" is present where both are and absent where one of them is. "No effusion on either side" holds
    where both are absent, and does not hold where one is present.
    """
    states = [side.state for side in sides.values()]
    surer, other = sorted(sides.values(), key=lambda side: side.score, reverse=True)
    decisive = surer if negated else other
    state: State
    if negated:
        state = "present" if "present" in states else "absent" if states == ["absent", "absent"] else "unsure"
    else:
        state = "present" if states == ["present", "present"] else "absent" if "absent" in states else "unsure"
    reasons = () if state != "unsure" else tuple(reason for side in sides.values() for reason in side.reasons)
    if "present" in states and states != ["present", "present"]:
        reasons = ("one-side-only", *reasons)
    if any("painted-only" in side.reasons for side in sides.values()):
        reasons = (*reasons, "painted-only")
    return replace(
        decisive,
        state=state,
        holds=None if not negated or state == "unsure" else state == "absent",
        assessed_fraction=min(side.assessed_fraction for side in sides.values()),
        reasons=tuple(dict.fromkeys((*reasons, *notes))),
        sides=dict(sides),
    )


def mark_unsure(decision: Decision, reason: Reason) -> Decision:
    """The same answer, but unsure, for a reason that comes first."""
    return replace(decision, state="unsure", holds=None, reasons=tuple(dict.fromkeys((reason, *decision.reasons))))
