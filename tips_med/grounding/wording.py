"""The answer as a sentence like a radiologist's, and its reasons in words."""

from __future__ import annotations

from collections.abc import Sequence

from tips_med.grounding.answer import Decision, Instance, Reason
from tips_med.grounding.coverage import LOBES, THIRDS
from tips_med.grounding.lobes import LOBES_OF_LUNG
from tips_med.grounding.thorax import SIDES
from tips_med.query import Query

REASONS: dict[Reason, str] = {
    "outside-field-of-view": "part of the searched region lies outside the scan",
    "gap": "slices are missing in the searched region",
    "not-aerated": "one side of the chest holds little or no aerated lung",
    "no-lung-seen": "no lung is seen in this scan",
    "side-unknown": "left and right are unknown in this scan",
    "height-unknown": "the scan cuts the lung, so its thirds are unknown",
    "extent-unknown": "how much of the searched region this scan shows is not known",
    "wider-than-trained": "the searched region holds more than lungs and pleura, all that this model was trained on",
    "uncalibrated": "this model's score for it has not been calibrated",
    "painted-only": "its thresholds were fitted on painted scans alone, so how it does on real ones is not known",
    "between-thresholds": "the evidence is weak either way",
    "size-mismatch": "nothing of the requested size",
    "one-side-only": "it is on one side only",
    "lobe-by-estimate": "the lobe was estimated from the lung's shape (mean fissures of five lungs), not from its own "
    "fissures",
    "height-by-estimate": "the lobe was taken by height in the lung, not by its fissures",
    "location-unchecked": "part of the requested place was not checked",
    "attribute-unchecked": "part of the description was not checked",
    "hedge-ignored": "the hedge was left out",
    "wording-unchecked": "part of the wording was not checked",
    "size-of-all": "the size was not compared",
}
"""What the codes of ``Decision.reasons`` mean, in words."""

NOTES: tuple[Reason, ...] = (
    "painted-only",
    "hedge-ignored",
    "lobe-by-estimate",
    "height-by-estimate",
    "location-unchecked",
    "attribute-unchecked",
    "wording-unchecked",
)
"""Reasons that say what of the query was not answered; they do not change the state."""

CHECKED = ("solid", "part_solid", "ground_glass", "spiculated")
"""Attributes in the training of the shipped model, true and false."""


def write_sentence(
    query: Query, decision: Decision, instances: Sequence[Instance], others: Sequence[Instance] = ()
) -> str:
    """The sentence: what was found, where, how certain it is and why not more certain.

    Args:
        query: The query.
        decision: Present, absent or unsure.
        instances: Outlined instances, highest score first.
        others: Instances of another size than requested.
    """
    parts = [f"Read {typed!r} as {meant!r}." for typed, meant in query.mended]
    if query.unknown_words:
        words = ", ".join(repr(word) for word in query.unknown_words)
        nearest = [f"{known[0]!r}" for _, known in query.suggestions if known]
        meant = f" (did you mean {' or '.join(nearest)}?)" if nearest else ""
        parts.append(f"Not understood: {words}{meant}; answered without it.")
    parts.append(_finding(query, decision, instances))
    if others:
        sizes = _list([f"{other.long_axis_mm:.0f}" for other in others[:3]])
        parts.append(f"Of another size than requested: {len(others)} of {sizes} mm.")
    if decision.sides and decision.state != "present":
        by_side = [f"{side} {_sure(one)}" for side, one in decision.sides.items()]
        parts.append(f"By side: {', '.join(by_side)}.")
    why = [_why(reason, decision) for reason in decision.reasons if reason not in (*NOTES, "no-lung-seen")]
    if why and decision.state == "unsure":
        parts.append(f"Not decided: {_list(why)}.")
    if decision.holds is not None:
        parts.append(f"The statement {query.text!r} {'holds' if decision.holds else 'does not hold'}.")
    parts += _unanswered(query, decision)
    return " ".join(parts)


def _unanswered(query: Query, decision: Decision) -> list[str]:
    """Parts of the query that were understood and have no answer."""
    parts = []
    lobes = [location.name for location in query.locations if location.id in LOBES]
    if lobes and "no-lung-seen" not in decision.reasons:
        were = "were" if len(lobes) > 1 else "was"
        if "lobe-by-estimate" in decision.reasons:
            parts.append(
                f"The {_list(lobes)} {were} estimated from the lung's shape (mean fissures of five lungs), not from "
                "its own fissures."
            )
        if "height-by-estimate" in decision.reasons:
            both = "In a lung that the scan does not show whole, " if "lobe-by-estimate" in decision.reasons else ""
            parts.append(_capital(f"{both}the {_list(lobes)} {were} taken by height in the lung, not by its fissures."))
    # What a finding lies beside is no part of what was searched: an answer must not sound as if it were.
    near = [place.name for place in query.locations if place.kind == "structure"]
    if near:
        parts.append(f"Whether it is near the {_list(near)} was not checked.")
    unchecked = [place.name for place in query.locations if place.id not in THIRDS and place.kind == "location"]
    unchecked += [attribute.name for attribute in query.attributes if attribute.id not in CHECKED]
    if unchecked and decision.state != "absent":
        parts.append(f"{_capital(_list(unchecked))} {'were' if len(unchecked) > 1 else 'was'} not checked.")
    if "painted-only" in decision.reasons:
        parts.append("How it does on real scans is not known: its thresholds were fitted on painted ones alone.")
    if query.unchecked:
        parts.append(f"{_capital(_list([repr(part) for part in query.unchecked]))} was not checked.")
    if query.hedged:
        hedges = [span.text for span in query.spans if span.role == "hedge"]
        parts.append(f"{_capital(_list([repr(hedge) for hedge in hedges] or ['the hedge']))} was left out.")
    return parts


def _why(reason: Reason, decision: Decision) -> str:
    """A reason in words, with the assessed share where the reason is about it."""
    seen = 100 * decision.assessed_fraction
    if reason in ("outside-field-of-view", "gap") and decision.assessed_fraction < 0.995:
        what = "lies in the scan" if reason == "outside-field-of-view" else "was measured, slices are missing"
        return (
            f"about {seen:.0f}% of the searched region {what}"
            if seen >= 1
            else "the searched region is not in the scan"
        )
    return REASONS[reason]


def subject_of(query: Query) -> str:
    """The queried term in the lexicon's own words: ``ground-glass opacity in the left lung``."""
    side, structure = query.side, query.structure
    # A place that was not searched alone must not be named as if it had been.
    inside = [place.name for place in query.locations if place.id in THIRDS]
    if query.finding is None:
        name = structure.name if structure else query.text
        sided = f"{side} {name}" if side in ("left", "right") else name
        if not inside:
            return sided
        if any(place.id not in LOBES for place in query.locations if place.id in THIRDS):
            return f"{_list(inside)} of the {sided}"
        return " ".join([*([side] if side else []), _list(inside)]) + ("s" if side == "both" else "")
    attributes = [span.text.lower() for span in query.spans if span.role == "attribute"]
    name = " ".join([*attributes, query.finding.name])
    if inside:
        where = f"in the {' '.join([*([side] if side else []), _list(inside)])}"
    elif structure and side == "both":
        where = f"in both {structure.name}s"
    elif structure:
        where = f"in the {' '.join([*([side] if side else []), structure.name])}"
    else:
        where = {"left": "on the left", "right": "on the right", "both": "on both sides", None: ""}[side]
    return f"{name} {where}".strip()


def _sure(decision: Decision) -> str:
    number = (
        f"probability {decision.probability:.2f}" if decision.probability is not None else f"score {decision.score:.2f}"
    )
    state = "not found" if decision.state == "absent" else decision.state
    return f"{state} ({number})"


def _finding(query: Query, decision: Decision, instances: Sequence[Instance]) -> str:
    subject = _capital(subject_of(query))
    if "no-lung-seen" in decision.reasons:
        return f"{subject}: cannot be judged, no lung is seen in this scan."
    if decision.state == "absent" and "one-side-only" not in decision.reasons:
        return f"{subject}: {_sure(decision)}."
    head = f"{subject}: {_sure(decision)}"
    if decision.state == "absent":
        head = f"{subject}: not on both sides"
    if "size-mismatch" in decision.reasons:
        head = f"{subject}: none of {query.measurement_mm:.0f} mm"
    if not instances:
        return f"{head}, not outlined."
    best = instances[0]
    total = sum(i.volume_ml for i in instances)
    size = f"{_number(best.volume_ml)} ml, long axis {best.long_axis_mm:.0f} mm"
    where = f" in the {place_in_words(best)}" if best.region else ""
    place = f"slices {best.slices[0]} to {best.slices[1]}"
    if not query.finding:
        sides = {one.side for one in instances}
        if len(instances) == 2 and sides == {"left", "right"}:
            each = [f"{one.side} {_number(one.volume_ml)}" for one in sorted(instances, key=lambda one: str(one.side))]
            return f"{head}, {_number(total)} ml ({_list(each)}), {_slices(instances)}."
        return f"{head}, {_number(total)} ml, {_slices(instances)}."
    if len(instances) == 1:
        return f"{head}{where}, {size}, {place}."
    return f"{head}, {len(instances)} places, {_number(total)} ml in all; surest{where}, {size}, {place}."


def place_in_words(instance: Instance) -> str:
    """Where a component is: ``lower third of the left lung (left lower lobe by estimate)``; empty where not known."""
    lobes = lobes_in_words(instance.lobes)
    return f"{instance.region} ({lobes} by estimate)" if lobes else instance.region


def lobes_in_words(lobes: Sequence[str]) -> str:
    """Lobes of a component in words, ``right upper or middle lobe``; empty where they say no more than the lung does.

    Args:
        lobes: Lobes as ``Instance.lobes`` has them.
    """
    named: dict[str, list[str]] = {}
    for lobe in lobes:
        side, _, name = lobe.partition(" ")
        named.setdefault(side, []).append(name.removesuffix(" lobe"))
    whole = {SIDES[label]: len(lobes) for label, lobes in LOBES_OF_LUNG.items()}
    told = [f"{side} {' or '.join(names)} lobe" for side, names in named.items() if len(names) < whole[side]]
    return _list(told) if told and len(told) == len(named) else ""


def _slices(instances: Sequence[Instance]) -> str:
    """First and last slice of all pieces of a structure."""
    return f"slices {min(one.slices[0] for one in instances)} to {max(one.slices[1] for one in instances)}"


def _number(ml: float) -> str:
    return f"{ml:.0f}" if ml >= 100 else f"{ml:.1f}" if ml >= 1 else f"{ml:.2f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
