"""A comparison as a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from tips_med.followup.change import REASONS, Change, Status
from tips_med.grounding import Grounding
from tips_med.grounding.wording import subject_of
from tips_med.query import Query

ORDER: tuple[Status, ...] = ("new", "grown", "shrunk", "gone", "stable", "unsure")
"""Statuses as they are listed: what matters most comes first."""


def write_summary(query: Query, prior: Grounding, current: Grounding, changes: Sequence[Change]) -> str:
    """What became of what was queried, in words."""
    subject = subject_of(query)
    head = f"{subject[:1].upper()}{subject[1:]}"
    if not changes:
        states = prior.presence.state, current.presence.state
        if states == ("absent", "absent"):
            said = "not found in either scan"
        else:
            said = f"cannot be compared: prior {states[0]}, current {states[1]}, and nothing was outlined"
        return f"{head}: {said}.{_statement(query, prior, current)}"
    counts = [(status, [one for one in changes if one.status == status]) for status in ORDER]
    said = ", ".join(f"{len(ones)} {status}" for status, ones in counts if ones)
    parts = [f"{head}: {said}."]
    parts += [one for status, ones in counts for one in (_told(change) for change in ones[:3])]
    return " ".join(parts) + _statement(query, prior, current)


def amount(change: Change) -> str:
    """Volumes in words: ``12.1 to 18.4 ml, +52% (95% limits +20 to +93%)``."""
    if change.volume is None:
        return f"{number(change.current_ml or change.prior_ml)} ml"
    low, high = change.volume.change_percent_limits
    return (
        f"{number(change.prior_ml)} to {number(change.current_ml)} ml, {signed(change.volume.change_percent)}% "
        f"(95% limits {signed(low)} to {signed(high)}%)"
    )


def signed(value: float) -> str:
    """A whole number with its sign, with a true minus: ``+52``."""
    rounded = round(value)
    return f"{rounded:+d}".replace("-", "\N{MINUS SIGN}") if rounded else "0"


def number(ml: float) -> str:
    """A volume with two or three digits that count."""
    return f"{ml:.0f}" if ml >= 100 else f"{ml:.1f}" if ml >= 1 else f"{ml:.2f}"


def _told(change: Change) -> str:
    where = f" in the {change.place}" if change.region else ""
    why = f": {REASONS[change.reasons[0]]}" if change.reasons else ""
    return f"{change.number}: {change.status}{where}, {amount(change)}{why}."


def _statement(query: Query, prior: Grounding, current: Grounding) -> str:
    if not query.negated:
        return ""
    held = [
        {True: "held", False: "did not hold", None: "was undecided"}[one.presence.holds] for one in (prior, current)
    ]
    return f" The statement {query.text!r} {held[0]} in the prior scan and {held[1]} in the current one."
