"""One patient, scanned in four ways: plain, oblique, mirrored, and in thick sagittal slices."""

from __future__ import annotations

import numpy as np

from tests.conftest import axial_affine
from tests.phantom import MASS, body, rule_model
from tips_med.model import GroundingModel
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec

LEFT_LOW = ((65.0, 10.0, -60.0), 18.0, MASS)

COARSE = SlabSpec(spacing_mm=(5.0, 4.0, 4.0), windows_hu=((-1100.0, 1100.0),), neighbours=0, patch=4)

WAYS = {
    "axial": (axial_affine((5.0, 3.8, 4.3)), (52, 66, 76)),
    "oblique": (axial_affine((5.0, 3.8, 4.3), 20.0), (62, 78, 80)),
    "mirrored": (axial_affine((5.0, 3.8, 4.3)) @ np.diag([1.0, 1, -1, 1]), (52, 66, 76)),
    "thick sagittal": (axial_affine((3.5, 3.6, 7.0))[:, [2, 0, 1, 3]], (46, 74, 70)),
}


def coarse_model() -> GroundingModel:
    """Knows by rule what is where, on large cells."""
    model = rule_model()
    model.image.slab_spec = COARSE
    return model


def patient(way: str) -> Scan:
    """A mass in the left lung, low."""
    affine, shape = WAYS[way]
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return body([LEFT_LOW], affine, shape)
