"""A lesion at a chosen place and size, so that the same one can be painted again when it has grown."""

from __future__ import annotations

import numpy as np

from tips_med.synthesis.findings.canvas import Canvas, blob, inside_lung, soft

SOLID_HU = 40.0
"""Soft tissue, as in a nodule without contrast medium or calcium."""


def paint_lesion(canvas: Canvas, centre: np.ndarray, diameter_mm: float, hu: float = SOLID_HU) -> np.ndarray:
    """Paints a solid, slightly lobulated lesion into the lung.

    Canvases with equal generators get lesions of one shape, whatever the size: a lesion that grew.

    Args:
        canvas: Canvas, changed in place.
        centre: Voxel of its centre, [slab y x].
        diameter_mm: Longest diameter in mm.
        hu: Hounsfield units of its inside.

    Returns:
        Mask of the lesion, bool [slab y x]; its edge is where half of a voxel is lesion.
    """
    made = blob(canvas, np.asarray(centre), diameter_mm, rough=0.08, spiculated=False)
    assert made is not None  # a place was given
    box, radius = made
    alpha = soft(radius, diameter_mm, edge_mm=2.0) * inside_lung(canvas, box)
    view = canvas.volume_hu[box]
    view += alpha * (np.maximum(view, hu) - view)
    mask = np.zeros(canvas.volume_hu.shape, bool)
    mask[box] = alpha > 0.5
    canvas.taken |= mask
    return mask
