"""Atelectasis: lung without air, in bands, at the back, as a wedge that has lost its volume, a lobe or a whole lung.

A lobe or a lung that collapses takes less room: mediastinum, trachea and diaphragm are pulled to its side.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import Box, Canvas, Painted, bounds, fill_air, painted, ramp, together
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.shift import shift_towards
from tips_med.synthesis.findings.subpleural import rim


def paint_atelectasis(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A band across the lung, a crescent along its back, a wedge on the pleura, a lobe or all of it: homogeneous.

    A lobe or a lung moves the body on the canvas (``canvas.shifts``).
    """
    rng = canvas.rng
    kind = rng.random()
    if kind < 0.3:
        return _bands(canvas, side)
    first = side or int(rng.choice([RIGHT, LEFT]))
    if kind > 0.93:
        return _lung(canvas, first)
    if kind > 0.76:
        return _lobe(canvas, first)
    if kind < 0.58:
        both = side is None and rng.random() < 0.5
        return together([_dependent(canvas, s) for s in ((first, LEFT + RIGHT - first) if both else (first,))])
    return _wedge(canvas, first)


def _bands(canvas: Canvas, side: int | None) -> Painted | None:
    """One to three plates, 2 to 6 mm thick and 20 to 80 mm long."""
    rng = canvas.rng
    made = [_band(canvas, side) for _ in range(int(rng.integers(1, 4)))]
    return together(made)


def _band(canvas: Canvas, side: int | None) -> Painted | None:
    rng = canvas.rng
    centre = canvas.place(side)
    if centre is None:
        return None
    lung_side = canvas.lungs[tuple(centre)]
    half_mm, thick_mm = rng.uniform(12, 40), rng.uniform(2.5, 6)
    box = canvas.box_around(centre, half_mm + 4)
    z, y, x = canvas.offsets_mm(box, centre)
    angle, steep = rng.uniform(0, np.pi), rng.normal(0, 0.35)
    across = np.array([np.sin(angle), np.cos(angle), steep]) / np.hypot(1, steep)
    off = y * across[0] + x * across[1] + z * across[2] + 1.5 * canvas.noise(box, 30.0)
    along = np.sqrt(np.maximum(z**2 + y**2 + x**2 - off**2, 0))
    free = (canvas.lungs[box] == lung_side) & ~canvas.taken[box]
    # It thins out towards its ends.
    thick = thick_mm / 2 * np.sqrt(np.clip(1 - (along / half_mm) ** 2, 0, 1))
    alpha = ramp(thick - np.abs(off), 2.0) * (along < half_mm) * free
    return _filled(canvas, box, alpha, 0.5, ["linear"])


def _dependent(canvas: Canvas, side: int) -> Painted | None:
    """A crescent of 5 to 30 mm along the pleura at the back."""
    rng = canvas.rng
    lung = canvas.lungs == side
    if lung.sum() < 200:
        return None
    box = bounds(lung)
    lung = lung[box]
    rows = np.arange(lung.shape[1], dtype=np.float32)
    last = np.where(lung.any(axis=1), lung.shape[1] - 1 - lung[:, ::-1].argmax(axis=1), -1).astype(np.float32)
    last = ndimage.gaussian_filter1d(np.maximum(last, last.max() - 40), 1.5, axis=1)  # pixels make steps
    # Only what faces backwards, thinning out towards the mediastinum and the side.
    rise_mm = canvas.spacing_mm[1] * (last.max() - last)
    facing = np.clip(1 - rise_mm / rng.uniform(25, 70), 0, 1)[:, None, :] ** 0.6
    depth = canvas.spacing_mm[1] * (last[:, None, :] - rows[None, :, None])
    thick = rng.uniform(5, 30) * facing * np.clip(1 + 0.35 * canvas.noise(box, 30.0), 0.2, 2)
    alpha = ramp(thick - depth, 3.0) * (thick > 2) * (lung & ~canvas.taken[box])
    return _filled(canvas, box, alpha, 0.5, ["dependent"])


def _wedge(canvas: Canvas, side: int) -> Painted | None:
    """A wedge with its base on the pleura and its tip towards the hilum, its sides hollowed by the loss of volume."""
    rng = canvas.rng
    found = rim(canvas, side, reach_mm=8, degrees=(-40, 140), band_mm=8)
    if found is None:
        return None
    small, inside, _ = found
    base = canvas.place_in(inside > 0.5)
    if base is None:
        return None
    centre = base + [part.start for part in small]
    middle = np.argwhere(canvas.lungs[centre[0]] == side).mean(axis=0)
    inward = (middle - centre[1:]) * np.asarray(canvas.spacing_mm[1:])
    inward /= max(1e-6, float(np.linalg.norm(inward)))
    length_mm, half_mm = rng.uniform(25, 70), rng.uniform(12, 35)
    box = canvas.box_around(centre, length_mm + half_mm)
    z, y, x = canvas.offsets_mm(box, centre)
    along = (y * inward[0] + x * inward[1]) / length_mm
    aside = np.sqrt((x * inward[0] - y * inward[1]) ** 2 + (z * rng.uniform(0.5, 1.2)) ** 2)
    width = half_mm * np.clip(1 - along, 0, 1.6) ** rng.uniform(1.3, 2.2)
    free = (canvas.lungs[box] == side) & ~canvas.taken[box]
    alpha = ramp(width - aside + 2.5 * canvas.noise(box, 30.0), 2.5) * (along < 1) * free
    # What the tip's side cuts off from the base is not part of it.
    labels, _ = cast("tuple[np.ndarray, int]", ndimage.label(alpha > 0.5))
    if not labels.any():
        return None
    keep = np.bincount(labels.ravel())[1:].argmax() + 1
    alpha = alpha * ndimage.binary_dilation(labels == keep, np.ones((3, 3, 3)))
    return _filled(canvas, box, alpha, 0.5, ["segmental"])


def _lobe(canvas: Canvas, side: int) -> Painted | None:
    """A lobe that has lost its air and most of its size: next to the mediastinum, behind a bowed fissure."""
    rng = canvas.rng
    if rng.random() < 0.75:
        shift_towards(canvas, side, rng.uniform(2, 22), rng.uniform(0, 30))
    lung = canvas.lungs == side
    if lung.sum() < 400:
        return None
    box = bounds(lung)
    free = lung[box] & ~canvas.taken[box]
    spacing = np.asarray(canvas.spacing_mm)
    points = np.argwhere(free) * spacing
    if len(points) < 400:
        return None
    medial = 1.0 if side == RIGHT else -1.0  # towards the middle of the body
    forward = rng.choice([-1.0, 1.0])  # an upper lobe folds to the front, a lower one to the back
    direction = np.array(
        [-forward * rng.uniform(0, 0.6), forward * rng.uniform(0.3, 1.0), medial * rng.uniform(0.5, 1.2)]
    )
    direction /= np.linalg.norm(direction)
    along = points @ direction
    edge = float(np.quantile(along, 1 - rng.uniform(0.06, 0.35)))
    z, y, x = (step * np.arange(n, dtype=np.float32) for n, step in zip(free.shape, canvas.spacing_mm))
    plane = z[:, None, None] * direction[0] + y[None, :, None] * direction[1] + x[None, None, :] * direction[2]
    bowed = plane - edge + 5 * canvas.noise(box, 40.0) + 1.5 * canvas.noise(box, 10.0)
    alpha = ramp(bowed, 2.5) * free
    return _filled(canvas, box, alpha, 0.5, ["lobar"])


def _lung(canvas: Canvas, side: int) -> Painted | None:
    """All of one lung without air, small unless fluid or a filled lung takes the room."""
    rng = canvas.rng
    if rng.random() < 0.85:
        shift_towards(canvas, side, rng.uniform(8, 45), rng.uniform(0, 50))
    lung = canvas.lungs == side
    if lung.sum() < 400:
        return None
    box = bounds(lung)
    return _filled(canvas, box, (lung[box] & ~canvas.taken[box]).astype(np.float32), 0.5, [])


def _filled(canvas: Canvas, box: Box, alpha: np.ndarray, at: float, attributes: list[str]) -> Painted | None:
    rng = canvas.rng
    view = canvas.volume_hu[box]
    # The pixels between lung and wall hold some of both: what reaches the wall leaves no air there.
    seam = ndimage.grey_dilation(alpha, (1, 3, 3)) * ((canvas.lungs[box] == 0) & (view < 0) & (view > -900))
    filled = np.maximum(alpha, seam) * rng.uniform(0.93, 1.0)
    view[...] = fill_air(view, filled, rng.uniform(10, 90) + 5 * canvas.noise(box, 8.0))
    return painted(canvas, "atelectasis", box, alpha > at, attributes, None)


ATELECTASIS = Finding(
    "atelectasis",
    paint_atelectasis,
    mistaken_for=("mass", "pleural_effusion", "lesion"),
    indistinct_from=("consolidation",),
)
