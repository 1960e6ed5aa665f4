"""A finding painter: a bulla, an air-filled space of more than 1 cm with a wall of at most 1 mm (Fleischner 2008)."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.findings import Canvas, Finding, Painted
from tips_med.synthesis.findings.canvas import blob, empty_air, fill_air, inside_lung, painted, soft
from tips_med.synthesis.phantom import make_phantom

WALL_MM = 0.8


def paint_bulla(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A round hole of 15 to 60 mm in a lung, with a thin wall.

    Args:
        canvas: What is painted on; changed in place.
        side: 1 right, 2 left; either when None.

    Returns:
        What was painted; None where there was no room.
    """
    rng = canvas.rng  # the only source of chance, so that a seed gives the same scene again
    diameter_mm = float(np.exp(rng.uniform(np.log(15), np.log(60))))
    made = blob(canvas, canvas.place(side), diameter_mm, rough=0.08, spiculated=False)
    if made is None:
        return None
    box, radius = made
    lung = inside_lung(canvas, box)
    hole = soft(radius, diameter_mm, edge_mm=1.5) * lung
    view = canvas.volume_hu[box]
    view[...] = empty_air(view, hole, air_hu=float(rng.uniform(-1000, -980)))
    # The wall is thinner than a voxel and fills it in part.
    to_wall_mm = np.abs(radius - 1) * diameter_mm / 2
    wall = np.clip(1 - to_wall_mm / min(canvas.spacing_mm), 0, 1) * WALL_MM / min(canvas.spacing_mm)
    view[...] = fill_air(view, np.clip(wall, 0, 1) * lung, 30.0)
    return painted(canvas, "bulla", box, hole > 0.5, [], diameter_mm)


BULLA = Finding("bulla", paint_bulla, mistaken_for=("emphysema", "pneumothorax"), indistinct_from=("emphysema",))


def main() -> None:
    """Paints one into a torso that no scanner saw."""
    body = make_phantom(3)
    assert body.lungs is not None
    free = np.zeros(body.lungs.shape, bool)
    canvas = Canvas(body.volume_hu.astype(np.float32), body.lungs, body.spacing_mm, np.random.default_rng(0), free)
    bulla = paint_bulla(canvas)
    assert bulla is not None
    ml = bulla.mask.sum() * np.prod(body.spacing_mm) / 1000
    print(
        f"bulla on the {bulla.side}, {bulla.size_mm:.0f} mm, {ml:.1f} ml, {canvas.volume_hu[bulla.mask].mean():.0f} HU"
    )


if __name__ == "__main__":
    main()
