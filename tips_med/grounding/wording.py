"""The answer as a sentence that a radiologist might have dictated."""

from __future__ import annotations

from collections.abc import Sequence

from tips_med.grounding.answer import Instance, Presence
from tips_med.grounding.regions import APPROXIMATE, Lungs
from tips_med.query import Query


def sentence(query: Query, presence: Presence, instances: Sequence[Instance], lungs: Lungs | None) -> str:
    """Says what was found, where, and what the answer cannot be held to."""
    parts = []
    if query.unknown_words:
        words = ", ".join(repr(word) for word in query.unknown_words)
        nearest = [f"{known[0]!r}" for _, known in query.suggestions if known]
        meant = f" (did you mean {' or '.join(nearest)}?)" if nearest else ""
        parts.append(f"Not understood: {words}{meant}; answered without it.")
    parts.append(_finding(query, presence, instances, lungs))
    if presence.holds is not None:
        parts.append(f"The statement {query.text!r} {'holds' if presence.holds else 'does not hold'}.")
    lobes = [location.name for location in query.locations if location.id in APPROXIMATE]
    if lobes and lungs is not None and lungs.seen:
        parts.append(f"The {' and '.join(lobes)} was taken by height in the lung, not by its fissures.")
    unchecked = [a.name for a in query.attributes if a.id not in CHECKED]
    if unchecked and presence.state != "absent":
        parts.append(f"{_list(unchecked).capitalize()} was not checked.")
    return " ".join(parts)


CHECKED = ("solid", "part_solid", "ground_glass", "spiculated")
"""Attributes that the shipped model saw in training, true and false."""


def subject_of(query: Query) -> str:
    """What was asked for, in the lexicon's own words: ``ground-glass opacity in the left lung``."""
    side, structure = query.side, query.structure
    if query.finding is None:
        name = structure.name if structure else query.text
        return f"{side} {name}" if side in ("left", "right") else name
    attributes = [span.text.lower() for span in query.spans if span.role == "attribute"]
    name = " ".join([*attributes, query.finding.name])
    if query.locations:
        where = f"in the {' '.join([*([side] if side else []), _list([place.name for place in query.locations])])}"
    elif structure and side == "both":
        where = f"in both {structure.name}s"
    elif structure:
        where = f"in the {' '.join([*([side] if side else []), structure.name])}"
    else:
        where = {"left": "on the left", "right": "on the right", "both": "on both sides", None: ""}[side]
    return f"{name} {where}".strip()


def _finding(query: Query, presence: Presence, instances: Sequence[Instance], lungs: Lungs | None) -> str:
    subject = _capital(subject_of(query))
    sure = f"probability {presence.probability:.2f}"
    if lungs is not None and not lungs.seen:
        return f"{subject}: cannot be judged, no lung is seen in this scan."
    if presence.state == "absent":
        return f"{subject}: not found ({sure})."
    head = f"{subject}: {'present' if presence.state == 'present' else 'unsure'} ({sure})"
    if not instances:
        return f"{head}, not outlined."
    best = instances[0]
    total = sum(i.volume_ml for i in instances)
    size = f"{_number(best.volume_ml)} ml, long axis {best.long_axis_mm:.0f} mm"
    where = f" in the {best.region}" if best.region else ""
    place = f"slices {best.slices[0]} to {best.slices[1]}"
    if not query.finding:
        return f"{head}, {_number(total)} ml, {place}."
    if len(instances) == 1:
        return f"{head}{where}, {size}, {place}."
    return f"{head}, {len(instances)} places, {_number(total)} ml in all; surest{where}, {size}, {place}."


def _number(ml: float) -> str:
    return f"{ml:.0f}" if ml >= 100 else f"{ml:.1f}" if ml >= 1 else f"{ml:.2f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
