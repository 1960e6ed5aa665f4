"""Calcium in nodules."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.synthesis.findings.canvas import Canvas, Painted, bounds, depth_mm, within
from tips_med.synthesis.findings.declaration import Finding
from tips_med.synthesis.findings.nodules import paint_nodule


def paint_calcification(canvas: Canvas, side: int | None = None) -> Painted | None:
    """A solid nodule of 6 to 22 mm with calcium: throughout, in its middle, in layers or like popcorn.

    What is returned is the nodule, with the attribute ``calcified``. The calcium is in ``more``.
    """
    rng = canvas.rng
    diameter = float(np.exp(rng.uniform(np.log(6), np.log(22))))
    nodule = paint_nodule(canvas, side, diameter_mm=diameter, kind="solid")
    if nodule is None or "calcified" in nodule.attributes:
        return nodule
    box = bounds(nodule.mask, margin=2)
    inside = nodule.mask[box]
    depth = depth_mm(inside, canvas.spacing_mm)
    outward = 1 - depth / depth.max()
    pattern = "throughout" if diameter < 8 else str(rng.choice(["throughout", "middle", "layers", "popcorn"]))
    if pattern == "throughout":
        calcium = inside
    elif pattern == "middle":
        calcium = inside & (outward < rng.uniform(0.35, 0.6))
    elif pattern == "layers":
        calcium = inside & ((outward < 0.2) | (np.abs(outward - 0.65) < 0.18))
    else:
        calcium = inside & (canvas.noise(box, 4.0) + 0.5 * (0.5 - outward) > 0.4)
    density_hu = rng.uniform(200, 900) * (1 + 0.15 * canvas.noise(box, 4.0))
    # As sharp as the grid can show it: calcium half fills the voxels at its edge.
    canvas.volume_hu[box] += ndimage.gaussian_filter(density_hu * calcium, (0.25, 0.5, 0.5), truncate=3) * (
        0.3 + 0.7 * inside
    )
    return within(nodule, "calcification", "calcified", box, calcium)


CALCIFICATION = Finding("calcification", paint_calcification)
