"""What a phantom is built on: a grid in millimetres, and the shapes that are put into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tips_med.synthesis.noise import smooth_noise
from tips_med.synthesis.organs import LABELS, ORGANS

Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]
"""(x, y, z) in the mm of an average adult: x grows to the left, y to the back, z upwards; the top of the diaphragm is
at z = 0."""


@dataclass(eq=False)
class Build:
    """A phantom in the making.

    Attributes:
        volume_hu: Hounsfield units, float32 [slab y x].
        lungs: Label map of the lungs, 1 right, 2 left, [slab y x].
        organs: Label map of the organs, [slab y x].
        x_mm: Position of each column along x, in the average adult's mm.
        y_mm: Position of each row along y, in the average adult's mm.
        z_mm: Position of each slab along z, in the average adult's mm.
        spacing_mm: Spacing between slabs, rows and columns, in the patient's own mm.
        rng: Random generator, the only source of randomness.
        free_mm: How far outside of lungs that are given each voxel lies, [slab y x], negative within them; None where
            the lungs are made last and take what is left.
    """

    x_mm: np.ndarray
    y_mm: np.ndarray
    z_mm: np.ndarray
    spacing_mm: tuple[float, float, float]
    rng: np.random.Generator
    free_mm: np.ndarray | None = None
    volume_hu: np.ndarray = field(init=False)
    lungs: np.ndarray = field(init=False)
    organs: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        shape = len(self.z_mm), len(self.y_mm), len(self.x_mm)
        self.volume_hu = np.full(shape, -1000, np.float32)
        self.lungs = np.zeros(shape, np.uint8)
        self.organs = np.zeros(shape, np.uint8)

    def noise(self, box: Box, scale_mm: float) -> np.ndarray:
        """Smooth noise of unit variance for a box."""
        return smooth_noise(self.volume_hu[box].shape, scale_mm, self.spacing_mm, self.rng)

    def box(self, low: Point, high: Point) -> Box | None:
        """The part of the grid between two points; None where there is none."""
        parts = []
        for axis, mm in zip((2, 1, 0), (self.z_mm, self.y_mm, self.x_mm)):
            first, last = np.searchsorted(mm, (low[axis], high[axis]))
            if first >= last:
                return None
            parts.append(slice(int(first), int(last)))
        return parts[0], parts[1], parts[2]

    def at(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and z of the voxels of a box, each to be broadcast."""
        return self.x_mm[box[2]][None, None, :], self.y_mm[box[1]][None, :, None], self.z_mm[box[0]][:, None, None]

    def beside_lungs(self, box: Box, level_mm: np.ndarray, away_mm: float) -> np.ndarray:
        """A level that ends so many mm beside lungs that are given; as it is without them."""
        return level_mm if self.free_mm is None else np.minimum(level_mm, self.free_mm[box] - away_mm)

    def put(
        self, box: Box, level_mm: np.ndarray, hu: np.ndarray | float, organ: str | None = None, edge_mm: float = 2.0
    ) -> None:
        """Puts matter where a signed distance is positive, mixed with what was there at its edge."""
        fraction = np.clip(level_mm / edge_mm + 0.5, 0, 1)
        view = self.volume_hu[box]
        view += fraction * (hu - view)
        if organ is not None:
            self.organs[box][level_mm > 0] = LABELS[organ]

    def label(self, organ: str) -> np.ndarray:
        """Where an organ is, [slab y x]."""
        return self.organs == ORGANS.index(organ)

    def ellipsoid(self, centre: Point, radii: Point, axis: Point | None = None) -> tuple[Box, np.ndarray] | None:
        """A box and how deep within an ellipsoid its voxels lie, in mm; ``radii[0]`` lies along ``axis`` if given."""
        reach = (max(radii) if axis else np.asarray(radii)) + 6.0
        box = self.box(*_ends(np.asarray(centre) - reach, np.asarray(centre) + reach))
        if box is None:
            return None
        x, y, z = (a - c for a, c in zip(self.at(box), centre))
        if axis is None:
            r = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
        else:
            along = np.asarray(axis) / np.linalg.norm(axis)
            aside = np.cross(along, (0.0, 0.0, 1.0))
            aside /= np.linalg.norm(aside)
            r2 = np.zeros(1, np.float32)
            for direction, radius in zip((along, aside, np.cross(along, aside)), radii):
                r2 = r2 + ((x * direction[0] + y * direction[1] + z * direction[2]) / radius) ** 2
            r = np.sqrt(r2)
        return box, ((1 - r) * min(radii)).astype(np.float32)

    def tube(self, points: list[Point], radii_mm: list[float]) -> list[tuple[Box, np.ndarray]]:
        """Boxes and how deep within a tube along a line their voxels lie, in mm: one for each segment of the line."""
        pieces = []
        for a, b, ra, rb in zip(points, points[1:], radii_mm, radii_mm[1:]):
            first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
            reach = max(ra, rb) + 6.0
            box = self.box(*_ends(np.minimum(first, second) - reach, np.maximum(first, second) + reach))
            if box is None:
                continue
            x, y, z = (v - c for v, c in zip(self.at(box), first))
            d = second - first
            t = np.clip((x * d[0] + y * d[1] + z * d[2]) / float(d @ d), 0, 1)
            away = np.sqrt((x - t * d[0]) ** 2 + (y - t * d[1]) ** 2 + (z - t * d[2]) ** 2)
            pieces.append((box, float(ra) + t * float(rb - ra) - away))
        return pieces


def _ends(low: np.ndarray, high: np.ndarray) -> tuple[Point, Point]:
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def smooth_line(points: list[Point], step_mm: float = 8.0) -> list[Point]:
    """A curved line through points (Catmull-Rom), cut into segments."""
    p = np.asarray([points[0], *points, points[-1]], float)
    line = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        pieces = max(1, int(np.linalg.norm(c - b) / step_mm))
        for t in np.arange(pieces) / pieces:
            line.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    line.append(p[-1])
    return [(float(x), float(y), float(z)) for x, y, z in line]
