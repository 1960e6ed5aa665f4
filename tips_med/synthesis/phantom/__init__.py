"""A torso from a seed: an anatomy to paint into that shows what no scan at hand does, with every organ labelled."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.phantom.abdomen import build_abdomen
from tips_med.synthesis.phantom.build import Build
from tips_med.synthesis.phantom.chest import build_heart, build_lungs, diaphragm_mm
from tips_med.synthesis.phantom.real_lungs import make_lung_phantom
from tips_med.synthesis.phantom.shapes import LungShape, read_lung_shape
from tips_med.synthesis.phantom.trunk import (
    APEX_MM,
    DEPTH_MM,
    WIDTH_MM,
    Habitus,
    build_skeleton,
    build_wall,
    cage_level,
)

__all__ = ["Habitus", "LungShape", "make_lung_phantom", "make_phantom", "read_lung_shape"]


def make_phantom(
    seed: int,
    spacing_mm: tuple[float, float, float] = (2.5, 2.0, 2.0),
    *,
    habitus: Habitus | None = None,
    below_mm: float = 230.0,
    above_mm: float = 12.0,
) -> Anatomy:
    """Builds the torso of one adult, from the lower neck to the kidneys.

    Size, proportions, fat, muscle, sex, the position of organs and the phase of contrast follow from the seed.

    Args:
        seed: Random seed (integer, 0 or more); the same seed gives the same body.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
        habitus: Habitus of the body; drawn when None.
        below_mm: Extent below the top of the diaphragm in mm.
        above_mm: Extent above the apices of the lungs in mm.

    Returns:
        An anatomy with lungs and organs, without lesions; x grows to the patient's left, y to the back, z upwards.
    """
    rng = np.random.default_rng(seed)
    habit = habitus or Habitus.draw(rng)
    scale = np.exp(rng.uniform(-0.11, 0.11)) * np.exp(rng.uniform(-0.07, 0.07, 3))  # of x, y, z
    # The belly is what reaches farthest, or the breasts.
    fat, muscle = habit.fat_mm, habit.muscle_mm
    wide = (WIDTH_MM + muscle + 1.15 * fat) * max(1.06, 1 + 0.003 * fat) + 12 + (105 if habit.arms else 0)
    deep = (DEPTH_MM + 0.7 * muscle + 0.9 * fat + 14) * (1 + 0.006 * fat)
    front = max(deep, DEPTH_MM + 0.3 * fat + 0.7 * habit.breast_mm) + 8
    back = deep + 32

    def axis(low: float, high: float, step: float, patch: int) -> np.ndarray:
        cells = -(-int((high - low) / step) // patch) * patch
        return (low + high) / 2 + step * (np.arange(cells, dtype=np.float32) - (cells - 1) / 2)

    steps = np.asarray(spacing_mm) / scale[::-1]
    build = Build(
        axis(-wide, wide, steps[2], 8),
        axis(-front, back, steps[1], 8),
        axis(-below_mm, APEX_MM + above_mm, steps[0], 1),
        spacing_mm,
        rng,
    )
    cage = cage_level(build)
    diaphragm = diaphragm_mm(build)
    build_wall(build, habit, cage)
    build_abdomen(build, habit, cage, diaphragm)
    inside = build_heart(build, habit)
    build_lungs(build, habit, cage, diaphragm, inside)
    build_skeleton(build, habit, cage)
    build.lungs[build.organs > 0] = 0
    # No scanner shows an edge sharper than this.
    volume = ndimage.gaussian_filter(build.volume_hu, (0.3, 0.45, 0.45), truncate=2)
    nothing = np.zeros(volume.shape, np.uint8)
    return Anatomy(
        f"phantom-{seed}",
        np.clip(volume, -1024, 3071).astype(np.int16),
        build.lungs,
        nothing,
        (),
        nothing > 0,
        spacing_mm,
        build.organs,
    )
