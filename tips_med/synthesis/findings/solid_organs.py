"""Cysts and lesions of the liver and the kidneys."""

from __future__ import annotations

import numpy as np

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.canvas import SIDES, Canvas, Painted, blob, soft
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.organs import LABELS

KIDNEYS = {RIGHT: LABELS["kidney_right"], LEFT: LABELS["kidney_left"]}


def paint_cyst(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A simple cyst of 6 to 70 mm: water without a wall, round and sharp; one in a kidney may bulge out of it."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(6), np.log(70))))
    return _paint(canvas, side, "cyst", diameter, rng.uniform(0.02, 0.06), 1.8, rng.uniform(-5, 18))


def paint_lesion(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A focal lesion of 8 to 90 mm: darker or brighter than its organ, some with a dead middle, hazy at its edge."""
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(8), np.log(90))))
    return _paint(canvas, side, "lesion", diameter, rng.uniform(0.05, 0.16), rng.uniform(2, 5), None)


def _paint(
    canvas: Canvas,
    side: int | None,
    finding: str,
    diameter: float,
    rough: float,
    edge_mm: float,
    water_hu: float | None,
) -> Painted | None:
    """Paints into the liver or a kidney: at ``water_hu``, or at a level beside that of the organ."""
    rng = canvas.rng
    if canvas.organs is None:
        return None
    wanted = [LABELS["liver"], *KIDNEYS.values()] if side is None else [KIDNEYS[side]]
    sizes = np.bincount(canvas.organs.ravel(), minlength=len(LABELS))
    there = [label for label in wanted if sizes[label] > 100]
    if not there:
        return None
    label = int(rng.choice(there))
    organ = canvas.organs == label
    kidney = label != LABELS["liver"]
    diameter = min(diameter, 45.0) if kidney else diameter
    made = blob(canvas, canvas.place_in(organ & ~canvas.taken), diameter, rough=rough, spiculated=False)
    if made is None:
        return None
    box, radius = made
    view = canvas.volume_hu[box]
    room = organ[box]
    if kidney and finding == "cyst":
        room = room | ((canvas.organs[box] == 0) & (view > -200) & (view < 0))  # the fat around it
    alpha = soft(radius, diameter, edge_mm) * (room & ~canvas.taken[box])
    if water_hu is not None:
        target = water_hu + 2 * canvas.noise(box, 6.0)
    else:
        own = float(np.median(view[organ[box]]))
        step = rng.uniform(20, 60) * (-1 if rng.random() < 0.8 else 1)
        target = own + step + 0.15 * abs(step) * canvas.noise(box, 8.0)
        if diameter > 25 and rng.random() < 0.3:
            target = target - rng.uniform(10, 35) * soft(radius, diameter, 6.0, at=rng.uniform(0.3, 0.6))
    inside = alpha > 0.5
    if inside.sum() < 4:
        return None
    view += alpha * (target - view)
    mask = np.zeros(canvas.taken.shape, bool)
    mask[box] = inside
    canvas.taken |= mask
    name = SIDES[RIGHT if label == KIDNEYS[RIGHT] else LEFT] if kidney else None
    return Painted(finding, name, mask, (), diameter, structure="kidney" if kidney else "liver")


CYST = Finding("cyst", paint_cyst)

LESION = Finding("lesion", paint_lesion, mistaken_for=("consolidation", "ground_glass_opacity"))
