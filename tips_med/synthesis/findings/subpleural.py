"""What lies along the pleura, and what is made of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from tips_med.geometry import LEFT
from tips_med.synthesis.findings.canvas import Box, Canvas, ramp


def rim(
    canvas: Canvas, side: int, *, reach_mm: float, degrees: tuple[float, float], band_mm: float
) -> tuple[Box, np.ndarray, np.ndarray] | None:
    """A patch of lung under the pleura.

    Args:
        canvas: Canvas to use.
        side: Side of the lung, 1 right, 2 left.
        reach_mm: Extent along the pleura from its middle, in mm.
        degrees: Range of angles of its middle, seen from the middle of the lung: 0 lateral, 90 at the back, -90 in
            front.
        band_mm: Depth into the lung in mm.

    Returns:
        A box, how much of each of its voxels is in the patch (0 to 1), and the free lung in it; None without room.
    """
    rng = canvas.rng
    start = canvas.place(side)
    if start is None:
        return None
    plane = canvas.lungs[start[0]] == side
    middle = np.argwhere(plane).mean(axis=0)
    angle = np.deg2rad(rng.uniform(*degrees))
    outward = np.array([np.sin(angle), np.cos(angle) * (1 if side == LEFT else -1)]) / np.array(canvas.spacing_mm[1:])
    steps = middle + np.arange(0, 300, 1.0)[:, None] * outward
    at = np.rint(steps).astype(int)
    at = at[((at >= 0) & (at < plane.shape)).all(axis=1)]
    on_lung = np.flatnonzero(plane[at[:, 0], at[:, 1]])
    if not len(on_lung):
        return None
    centre = np.array([start[0], *at[on_lung[-1]]])
    # The margin is for the distance to the pleura, which has to see the pleura.
    box = canvas.box_around(centre, reach_mm + band_mm + 4)
    lung = canvas.lungs[box] == side
    depth = np.asarray(ndimage.distance_transform_edt(lung, canvas.spacing_mm))
    z, y, x = canvas.offsets_mm(box, centre)
    wobble = canvas.noise(box, 16.0)
    along = reach_mm * (1 + 0.15 * wobble) - np.sqrt(z**2 + y**2 + x**2)
    free = lung & ~canvas.taken[box]
    return box, ramp(band_mm * (1 + 0.2 * wobble) - depth, 2.5) * ramp(along, 8.0) * free, free


@dataclass(frozen=True, eq=False)
class Cells:
    """Rounded cells of uneven size that fill a part of a box, as values of each voxel.

    Attributes:
        to_wall_mm: Distance from the wall of its cell in mm.
        to_middle_mm: Distance from the middle of its cell in mm.
        number: Number of its cell.
        count: Maximum number of cells.
    """

    to_wall_mm: np.ndarray
    to_middle_mm: np.ndarray
    number: np.ndarray
    count: int


def cells(canvas: Canvas, box: Box, where: np.ndarray, spacing_mm: float, crooked_mm: float = 0.0) -> Cells:
    """Divides a part of a box into cells about ``spacing_mm`` wide, with walls that are crooked by ``crooked_mm``."""
    rng = canvas.rng
    steps = np.asarray(canvas.spacing_mm, np.float32)
    counts = np.ceil(where.shape * steps / spacing_mm).astype(int) + 2
    lattice = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    seeds = (lattice - 0.5 + rng.uniform(-0.45, 0.45, lattice.shape)) * spacing_mm
    seeds = seeds[rng.random(len(seeds)) < 0.8]  # where one is missing, its neighbours grow
    points = np.argwhere(where) * steps
    if crooked_mm:
        points += crooked_mm * np.stack([canvas.noise(box, 6.0)[where] for _ in range(3)], axis=1)
    distance, nearest = cast("tuple[np.ndarray, np.ndarray]", KDTree(seeds).query(points, k=2))
    # The wall is the plane halfway between the two nearest seeds.
    apart = np.linalg.norm(seeds[nearest[:, 0]] - seeds[nearest[:, 1]], axis=1)
    to_wall = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart)
    return Cells(to_wall, distance[:, 0], nearest[:, 0], len(seeds))
