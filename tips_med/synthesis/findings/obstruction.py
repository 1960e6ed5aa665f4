"""Lung without air behind a mass that closes its bronchus."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import Canvas, Painted, bounds, fill_air, painted, ramp

LEAST_APART_HU, MOST_APART_HU = 8.0, 60.0
"""How much denser, or less dense, than the mass the lung behind it is."""


def lung_behind(canvas: Canvas, mass: Painted, mass_hu: float) -> Painted | None:
    """Fills the lung between a mass and the pleura, as far as one bronchus airs it.

    It is atelectasis, or consolidation without open bronchi.

    Args:
        canvas: Canvas that the mass was painted on.
        mass: The mass; its mask and that of the lung behind it do not overlap.
        mass_hu: Density of the mass in HU.

    Returns:
        What was filled; None where there is hardly any lung behind it.
    """
    rng = canvas.rng
    side = RIGHT if mass.side == "right" else LEFT
    lung = canvas.lungs == side
    box = bounds(lung | mass.mask)
    free = lung[box] & ~canvas.taken[box]
    places = np.argwhere(mass.mask)
    centre = places.mean(axis=0)
    half_mm = 0.5 * float((np.ptp(places, axis=0) * np.asarray(canvas.spacing_mm))[1:].mean())
    # The hilum lies at the middle of the lung's medial border: away from it lies what the bronchus airs.
    middle = np.argwhere(lung).mean(axis=0)
    medial = np.flatnonzero(lung.any(axis=(0, 1)))[-1 if side == RIGHT else 0]
    outward = (centre - [middle[0], middle[1], medial]) * np.asarray(canvas.spacing_mm)
    outward[0] *= 0.3 if canvas.lungs.shape[0] > 24 else 0.0
    outward += rng.normal(0, 8, 3) * [0.3, 1, 1]
    outward /= max(1e-6, float(np.linalg.norm(outward)))
    z, y, x = canvas.offsets_mm(box, centre)
    along = z * outward[0] + y * outward[1] + x * outward[2]
    aside = np.sqrt(np.maximum(z**2 + y**2 + x**2 - along**2, 0))
    # As wide as the mass where it begins, and wider towards the pleura; its sides are fissures.
    width = half_mm * rng.uniform(0.6, 1.1) + np.maximum(along, 0) * rng.uniform(0.2, 1.0)
    alpha = ramp(width - aside + 6 * canvas.noise(box, 32.0), 2.5) * ramp(along + 0.3 * half_mm, 4.0) * free
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(alpha > 0.5))
    if not count:
        return None
    # What lies apart is aired by another bronchus.
    keep = np.bincount(labels.ravel())[1:].argmax() + 1
    alpha = alpha * ndimage.binary_dilation(labels == keep, np.ones((3, 3, 3)))
    consolidated = rng.random() < 0.3
    apart = rng.uniform(LEAST_APART_HU, MOST_APART_HU) * rng.choice([-1.0, 1.0])
    density_hu = float(np.clip(mass_hu + apart, 5, 130))
    view = canvas.volume_hu[box]
    # The mass's own edge holds some air, where it is not the gas of a cavity, and so do the pixels beside the wall.
    solid = mass.mask[box] & ~np.any([one.mask[box] for one in mass.more] or [np.zeros_like(free)], axis=0)
    wall = (canvas.lungs[box] == 0) & (view > -900) & (view < 0) & ~canvas.taken[box]
    seam = ndimage.grey_dilation(alpha, (1, 5, 5)) * solid + ndimage.grey_dilation(alpha, (1, 3, 3)) * wall
    view[...] = fill_air(
        view, rng.uniform(0.94, 1.0) * np.maximum(alpha, seam), density_hu + 5 * canvas.noise(box, 8.0)
    )
    name, attributes = ("consolidation", ["solid"]) if consolidated else ("atelectasis", ["lobar"])
    return painted(canvas, name, box, alpha > 0.5, attributes, None)
