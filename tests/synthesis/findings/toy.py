"""A chest and an upper abdomen, as simple as painters can do with."""

from __future__ import annotations

import numpy as np

from tests.synthesis.test_scene import SPACING, anatomy
from tips_med.synthesis.findings import Canvas
from tips_med.synthesis.organs import LABELS

LUNG_HU = -860
VESSEL_HU = 30


def canvas(seed: int) -> Canvas:
    """Two elliptic lungs with vessels in them."""
    body = anatomy()
    nothing = np.zeros(body.lungs.shape, bool)
    return Canvas(body.volume_hu.astype(np.float32), body.lungs.copy(), SPACING, np.random.default_rng(seed), nothing)


def labelled(seed: int) -> Canvas:
    """The same with a heart between the lungs, and below them a liver and two kidneys in fat."""
    made = canvas(seed)
    z, y, x = np.indices(made.lungs.shape)
    made.volume_hu[:8] = np.where(made.volume_hu[:8] > -900, -100, -1000)
    made.lungs[:8] = 0
    organs = np.zeros(made.lungs.shape, np.uint8)
    organs[8:][(((z - 14) / 5) ** 2 + ((y - 40) / 12) ** 2 + ((x - 70) / 9) ** 2 < 1)[8:]] = LABELS["heart"]
    below = z < 8
    organs[below & (((y - 45) / 25) ** 2 + ((x - 40) / 22) ** 2 < 1)] = LABELS["liver"]
    organs[below & (((y - 70) / 12) ** 2 + ((x - 45) / 10) ** 2 < 1)] = LABELS["kidney_right"]
    organs[below & (((y - 70) / 12) ** 2 + ((x - 95) / 10) ** 2 < 1)] = LABELS["kidney_left"]
    made.volume_hu[organs > 0] = 50
    made.lungs[organs > 0] = 0
    made.organs = organs
    return made
