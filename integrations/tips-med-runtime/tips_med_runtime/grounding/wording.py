# Copied from tips_med/grounding/wording.py by copies.py: change it there.
"""The answer as a sentence like a radiologist's, and its reasons in words."""

from __future__ import annotations

from collections.abc import Sequence

from tips_med_runtime.grounding.answer import Instance, Reason
from tips_med_runtime.grounding.lobes import LOBES_OF_LUNG
from tips_med_runtime.grounding.thorax import SIDES

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


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
