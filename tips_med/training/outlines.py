"""Lungs of anatomies without outlines, as an earlier model finds them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.encoders.compact import DEPTH
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.maps import probability_map
from tips_med.model import GroundingModel
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.scene import Scene
from tips_med.training.calibration import study_of

MIN_LUNG_ML = 20.0
"""What is smaller than this is bowel gas."""


def outline_lungs(anatomy: Anatomy, model: GroundingModel) -> np.ndarray | None:
    """Outlines both lungs, the largest component of each.

    Args:
        anatomy: Anatomy on the model's working grid.
        model: Model that answers "left lung" and "right lung".

    Returns:
        1 right, 2 left, uint8 [slab y x]; None where the anatomy has no lung.
    """
    rows, columns = anatomy.volume_hu.shape[1:]
    around = ((0, 0), (0, -rows % DEPTH), (0, -columns % DEPTH))
    volume = np.pad(anatomy.volume_hu.astype(np.float32), around, constant_values=-1024)
    offset_mm = tuple(-middle * step for middle, step in zip(anatomy.middle_yx, anatomy.spacing_mm[1:]))
    scene = Scene(volume, None, (), np.zeros(volume.shape, bool), (offset_mm[0], offset_mm[1]), anatomy.spacing_mm)
    texts = model.text.embed(["right lung", "left lung"])
    study = study_of(scene, model, {text.adapter for text in texts})
    right, left = (probability_map(study, text, model)[:, :rows, :columns] for text in texts)
    ml = float(np.prod(anatomy.spacing_mm)) / 1000
    lungs = np.zeros(anatomy.volume_hu.shape, np.uint8)
    for label, mask in ((RIGHT, (right > 0.5) & (right > left)), (LEFT, (left > 0.5) & (left >= right))):
        components, count = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues]
        sizes = np.bincount(components.ravel())[1:]
        if count and sizes.max() * ml >= MIN_LUNG_ML:
            lungs[components == sizes.argmax() + 1] = label
    return lungs if lungs.any() else None
