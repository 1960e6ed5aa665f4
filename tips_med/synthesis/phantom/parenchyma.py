"""What is within lungs whose shape is given: their tissue, fissures, bronchi, vessels, and twigs beyond these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.phantom.build import Build
from tips_med.synthesis.phantom.shapes import Layers, LungShape
from tips_med.synthesis.phantom.trunk import EVERYWHERE

Placed = Callable[[np.ndarray], np.ndarray]
"""Maps places of a shape in mm, [point 3] (z, y, x), to places on the grid of the body, in cells."""


@dataclass(frozen=True)
class LungLook:
    """How the inside of lungs looks.

    Attributes:
        tissue_hu: Hounsfield units of the tissue at half depth, -885 to -790 in most.
        gradient_hu: How much denser it is at the back than in the middle.
        texture: Strength of its texture, about 1.
        calibre_mm: How much wider (or narrower, if negative) vessels are than they were drawn, all around, in mm.
        blood_hu: Hounsfield units of blood in the vessels of the lung.
        wall: Share of the second layer around a lumen that is wall, 0 to 1: the first one always is.
        wall_hu: Hounsfield units of the walls of bronchi.
        pleura: Share of the drawn fissures' thickness that is pleura, 0 to 1.
        twigs: Number of twigs for each litre.
    """

    tissue_hu: float
    gradient_hu: float
    texture: float
    calibre_mm: float
    blood_hu: float
    wall: float
    wall_hu: float
    pleura: float
    twigs: int

    @classmethod
    def draw(cls, rng: np.random.Generator, blood_hu: float) -> LungLook:
        """One of many: with blood of ``blood_hu`` in the great vessels."""
        return cls(
            tissue_hu=float(rng.uniform(-890, -795)),
            gradient_hu=float(rng.uniform(5, 50)),
            texture=float(rng.uniform(0.6, 1.5)),
            calibre_mm=float(rng.uniform(-0.1, 0.55)),
            blood_hu=30 + float(rng.uniform(0.7, 1.0)) * (blood_hu - 40),
            wall=float(rng.uniform(0.0, 0.7)),
            wall_hu=float(rng.uniform(-40, 50)),
            pleura=float(rng.uniform(0.12, 0.35)),
            twigs=int(rng.uniform(500, 1100)),
        )


def fill_lungs(build: Build, share: np.ndarray, shape: LungShape, placed: Placed, look: LungLook) -> None:
    """Puts the lungs of a shape into a body, over whatever is there.

    Args:
        build: Build; its ``lungs`` and ``free_mm`` are of this shape.
        share: Share of each voxel that is lung, [slab y x].
        shape: Lungs.
        placed: Where the shape's places lie in the body.
        look: How they look.
    """
    rng, hu = build.rng, build.volume_hu
    _, y, _ = build.at(EVERYWHERE)
    lobular = build.noise(EVERYWHERE, 4.0)
    tissue = look.tissue_hu + look.gradient_hu * np.clip(y / 90, -1, 1) + look.texture * (14 * lobular)
    tissue += look.texture * (14 * build.noise(EVERYWHERE, 12.0) + 12 * build.noise(EVERYWHERE, 40.0))
    tissue += look.texture * 10 * rng.standard_normal(hu.shape, np.float32)
    trees = _weighed(build, shape.vessels, placed, look.calibre_mm)
    _hila(build, trees, look)
    hu += share * (np.maximum(tissue, -985) - hu)
    bare = build.lungs > 0

    def mix(fraction: np.ndarray, value_hu: float, where: np.ndarray | None = None) -> None:
        part = np.clip(fraction, 0, 1) if where is None else np.clip(fraction, 0, 1) * where
        np.add(hu, part * (value_hu - hu), out=hu)

    mix(deposit(build, placed(shape.fissures_mm), shape.fissure_mm3 * _zoom(placed)) * look.pleura, 0.0, bare)
    stems = placed(shape.vessels.all_mm[:: max(1, int(STEM_MM3 / shape.vessels.voxel_mm3))])
    trees += deposit(build, *_twigs(build, stems, look, rng), parts=1)
    mix(trees, look.blood_hu, bare)
    airways = shape.airways
    wall = deposit(build, placed(airways.beyond_mm), airways.voxel_mm3 * _zoom(placed))
    wall += look.wall * deposit(build, placed(airways.beyond_that_mm), airways.voxel_mm3 * _zoom(placed))
    lumen = deposit(build, placed(airways.all_mm), airways.voxel_mm3 * _zoom(placed))
    total = np.clip(wall + lumen, 0, 1)
    # Both at once, as much of each as there is.
    both = np.where(total > 0, (wall * look.wall_hu - lumen * 985) / np.maximum(wall + lumen, 1e-6), 0)
    np.add(hu, total * (both - hu), out=hu)


def _hila(build: Build, trees: np.ndarray, look: LungLook) -> None:
    """Leads vessels on into the mediastinum beside the lungs, where their masks end."""
    within = np.flatnonzero((trees > 0.4).any(axis=(1, 2)))
    if not len(within) or build.free_mm is None:
        return
    box = slice(int(within[0]), int(within[-1]) + 1), slice(None), slice(None)
    away = np.asarray(ndimage.distance_transform_edt(trees[box] <= 0.4, sampling=build.spacing_mm))
    level = np.where(build.free_mm[box] > -2, 9.0 + 2 * build.noise(box, 8.0) - away, -9.0)
    build.put(box, level.astype(np.float32), look.blood_hu)


STEP_MM = 1.0
"""Distance between the points of a twig."""

APART_MM = 6.0
"""Size of a place that one twig of a round leaves from."""

STEM_MM3 = 4.0
"""Volume of vessel for each place that a twig may leave from."""


def _zoom(placed: Placed) -> float:
    """Volume in the body, in cells, of what takes 1 mm3 of the shape."""
    frame = placed(np.concatenate([np.zeros((1, 3)), np.eye(3)]).astype(np.float32))
    return float(abs(np.linalg.det(frame[1:] - frame[0])))


def deposit(build: Build, cells: np.ndarray, size: np.ndarray | float, parts: int = 8) -> np.ndarray:
    """The share of each voxel that small pieces of matter fill, float32 [slab y x]; more than 1 where they overlap.

    Args:
        build: Build.
        cells: Places of the pieces on its grid, [point 3].
        size: Volume of each piece, in voxels of the grid.
        parts: Number of parts that a piece is cut into, 8 (a cube) or 1.
    """
    shape = build.volume_hu.shape
    sizes = np.broadcast_to(np.asarray(size, np.float32), len(cells))
    signs = (
        np.stack(np.meshgrid(*[[-1, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3) if parts == 8 else np.zeros((1, 3))
    )
    # A quarter of a piece's edge to either side, in cells.
    edge = (
        np.cbrt(float(sizes.mean() if len(sizes) else 0) * np.prod(build.spacing_mm)) / np.array(build.spacing_mm) / 4
    )
    flat, weights = [], []
    for sign in signs:
        index = np.rint(cells + (sign * edge).astype(np.float32)).astype(np.int32)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        flat.append(np.ravel_multi_index(tuple(index[inside].T), shape))
        weights.append(sizes[inside] / len(signs))
    filled = np.bincount(np.concatenate(flat), np.concatenate(weights), minlength=build.volume_hu.size)
    return filled.reshape(shape).astype(np.float32)


def _weighed(build: Build, layers: Layers, placed: Placed, wider_mm: float) -> np.ndarray:
    """The share of each voxel that a structure fills which is made wider or narrower, by a part of a layer."""
    size = layers.voxel_mm3 * _zoom(placed)
    step = wider_mm / layers.thickness_mm
    fraction = deposit(build, placed(layers.within_mm), size)
    fraction += (1 + min(step, 0.0)) * deposit(build, placed(layers.rim_mm), size)
    if step > 0:
        fraction += min(step, 1.0) * deposit(build, placed(layers.beyond_mm), size)
    return fraction


def _twigs(build: Build, stems: np.ndarray, look: LungLook, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Twigs that leave vessels, and each other, for places that no vessel reaches.

    Masks of vessels end where these are about a millimetre thick, well before they end in a scan.

    Args:
        build: Build with lungs.
        stems: Places on the vessels, in cells of the grid, [point 3].
        look: How the lungs look.
        rng: Random generator.

    Returns:
        Places of their pieces in cells, [point 3], and the volume of each in voxels of the grid, [point].
    """
    assert build.free_mm is not None
    spacing = np.array(build.spacing_mm, np.float32)
    voxel = float(spacing.prod())
    made: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros((0, 3), np.float32), np.zeros(0))]
    for side in (RIGHT, LEFT):
        inner = np.argwhere((build.lungs == side) & (build.free_mm < -4))
        own = np.rint(stems).astype(np.intp)
        own = stems[((own >= 0) & (own < build.lungs.shape)).all(axis=1)]
        near = build.lungs[tuple(np.rint(own).astype(np.intp).T)] == side
        tree = (own[near] * spacing).astype(np.float32)
        if len(inner) < 50 or len(tree) < 5:
            continue
        root = np.median(tree, axis=0)
        count = int(look.twigs * len(np.flatnonzero(build.lungs == side)) * voxel / 1e6)
        for radius, part in ((1.0, 0.25), (0.8, 0.35), (0.65, 0.4)):
            number = max(1, int(count * part))
            ends = inner[rng.choice(len(inner), number)] + rng.uniform(-0.5, 0.5, (number, 3))
            ends = (ends * spacing).astype(np.float32)
            # The near ones first, so that the far ones leave from these, and one at a time from each place: else many
            # would leave the tip of one vessel, and look like a nodule there.
            for some in np.array_split(np.argsort(KDTree(tree).query(ends)[0]), 10):
                stems_tree, end = KDTree(tree), ends[some]
                away = stems_tree.query(end)[0]
                # They leave at an acute angle: from a place nearer to the root than the nearest one.
                back = (root - end) / np.maximum(np.linalg.norm(root - end, axis=1, keepdims=True), 1e-6)
                joint = tree[stems_tree.query(end + 0.6 * away[:, None] * back)[1]]
                first = np.zeros(len(end), bool)
                first[np.unique(np.rint(joint / APART_MM), axis=0, return_index=True)[1]] = True
                kept = (away > 3) & (away < 60) & first
                points, radii = _lines(joint[kept], end[kept], radius, rng)
                made.append((points / spacing, np.pi * radii**2 * STEP_MM / voxel))
                tree = np.concatenate([tree, points[::2]])
    return np.concatenate([one[0] for one in made]), np.concatenate([one[1] for one in made])


def _lines(
    starts: np.ndarray, ends: np.ndarray, radius_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lines, none quite straight, as points every ``STEP_MM``, in mm; they taper."""
    points, radii = [np.zeros((0, 3), np.float32)], [np.zeros(0)]
    for start, end in zip(starts, ends):
        length = float(np.linalg.norm(end - start))
        t = np.linspace(0, 1, max(2, int(length / STEP_MM)))
        line = start + t[:, None] * (end - start)
        for wave in (1, 2):
            line = line + np.sin(wave * np.pi * t)[:, None] * rng.normal(0, 0.07 * length / wave, 3)
        points.append(line.astype(np.float32))
        radii.append(radius_mm * (1 - 0.45 * t))
    return np.concatenate(points), np.concatenate(radii)
