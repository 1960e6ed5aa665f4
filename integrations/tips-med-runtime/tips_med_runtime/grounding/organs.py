# Copied from tips_med/grounding/organs.py by copies.py: change it there.
"""What is known of organs beforehand: in how many pieces they are, and on which side of the midline one lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from tips_med_runtime.body import Body
from tips_med_runtime.grounding.answer import Instance
from tips_med_runtime.shapes import Affine, Labels


def sided_by_midline(
    instances: tuple[Instance, ...], name: str, body: Body, lps_from_heat: Affine
) -> tuple[Instance, ...]:
    """Components of a paired organ outside the chest, with the side of their centroid.

    A centroid that lies nearer to the midline than the midline's own error has no side.

    Args:
        instances: Components without a side.
        name: Name of the organ, for the region in words: ``left kidney``.
        body: Body of the scan.
        lps_from_heat: Maps (slab, y, x, 1) of the body's grid to LPS in mm; its axes are those of the patient.
    """
    if not body.midline.known:
        return instances
    found = []
    for one in instances:
        x_mm, _, z_mm = one.centroid_lps
        slab = round((z_mm - lps_from_heat[2, 3]) / lps_from_heat[2, 0])
        off_mm = x_mm - float(body.midline.x_mm[np.clip(slab, 0, len(body.midline.x_mm) - 1)])
        side: Literal["left", "right"] = "left" if off_mm > 0 else "right"
        known = abs(off_mm) > body.midline.within_mm
        found.append(replace(one, side=side, region=f"{side} {name}") if known else one)
    return tuple(found)


def largest_pieces(
    labels: Labels, instances: tuple[Instance, ...], paired: bool
) -> tuple[Labels, tuple[Instance, ...]]:
    """Keeps the largest component of an organ that is in one piece, or the largest on either side of a paired one.

    Args:
        labels: Labels from ``find_instances``, [k j i].
        instances: Components from ``find_instances``.
        paired: Whether the body has a left and a right one. Where the side of a component is not known, two are kept.

    Returns:
        The labels and the components that are kept, numbered anew in the same order.
    """
    by_size = sorted(instances, key=lambda one: -one.volume_ml)
    kept: list[Instance] = []
    for one in by_size:
        taken = [other for other in kept if not paired or other.side == one.side or None in (one.side, other.side)]
        allowed = 2 if paired and any(None in (one.side, other.side) for other in taken) else 1
        if len(taken) < allowed and len(kept) < (2 if paired else 1):
            kept.append(one)
    chosen = [one for one in instances if one in kept]
    numbers = np.zeros(256, np.uint8)
    for new, one in enumerate(chosen, start=1):
        numbers[one.label] = new
    return numbers[labels], tuple(replace(one, label=n) for n, one in enumerate(chosen, start=1))
