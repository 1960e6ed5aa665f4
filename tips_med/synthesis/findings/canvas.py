"""What findings are painted on, and what painters share.

Every painter changes a canvas in place and returns what it painted, or None where there was no room. Air spaces are
filled in proportion to the air that is in them, so that vessels stay visible in ground-glass and bronchi stay open in
consolidation, as the Fleischner glossary defines them (Hansell 2008, doi:10.1148/radiol.2462070712).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.findings.shift import Shift
from tips_med.synthesis.noise import smooth_noise

SIDES = {RIGHT: "right", LEFT: "left"}

Box = tuple[slice, slice, slice]
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


@dataclass(eq=False)
class Canvas:
    """What is being painted on.

    Attributes:
        volume_hu: Hounsfield units, float32 [slab y x], changed in place.
        lungs: Label map of the lungs, 1 right, 2 left, [slab y x]; shrinks where fluid or air takes the lung's place.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
        rng: Random generator, the only source of randomness.
        taken: Mask of cells that are already painted, bool [slab y x].
        organs: Labels of ``tips_med.synthesis.organs``, [slab y x]; None without labels.
        gravity: Direction of gravity, as a unit vector (y, x): to the back when the patient lies on it.
        found: Findings that are there, real and painted ones.
        shifts: How the body was moved by what was painted, in turn: what is not on the canvas has to ``follow``.
    """

    volume_hu: np.ndarray
    lungs: np.ndarray
    spacing_mm: tuple[float, float, float]
    rng: np.random.Generator
    taken: np.ndarray
    organs: np.ndarray | None = None
    gravity: tuple[float, float] = (1.0, 0.0)
    found: list[Painted] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)

    def add(self, painted: Painted | None) -> None:
        """Notes what a painter gave, with all that it painted along with it."""
        if painted is not None:
            self.found += painted.everything

    def follow(self, labels: np.ndarray) -> np.ndarray:
        """Labels of the body as it was given, [slab y x], moved as it was moved since."""
        for shift in self.shifts:
            labels = shift.labels(labels)
        return labels

    def move(self, shift: Shift) -> None:
        """Moves everything that is on the canvas, the findings that were there before as well."""
        self.volume_hu[...] = shift.values(self.volume_hu)
        self.lungs[...] = shift.labels(self.lungs)
        self.taken[...] = shift.labels(self.taken)
        if self.organs is not None:
            self.organs = shift.labels(self.organs)
        self.found = [shift.painted(one) for one in self.found]
        self.shifts.append(shift)

    def noise(self, box: Box, scale_mm: float) -> np.ndarray:
        """Smooth noise for a part of the canvas."""
        return smooth_noise(self.volume_hu[box].shape, scale_mm, self.spacing_mm, self.rng)

    def place(self, side: int | None = None) -> np.ndarray | None:
        """A random free voxel of the lungs, as [slab y x]; None where there is none."""
        free = (self.lungs > 0 if side is None else self.lungs == side) & ~self.taken
        return self.place_in(free)

    def place_in(self, free: np.ndarray) -> np.ndarray | None:
        """A random voxel of a mask, as [slab y x]; None where there is none."""
        where = np.flatnonzero(free)
        if not len(where):
            return None
        return np.array(np.unravel_index(self.rng.choice(where), free.shape))

    def box_around(self, centre: np.ndarray, reach_mm: float) -> Box:
        """The part of the canvas within a distance of a voxel along each axis."""
        half = np.ceil(reach_mm / np.asarray(self.spacing_mm)).astype(int)
        low, high = np.maximum(0, centre - half), np.minimum(self.volume_hu.shape, centre + half + 1)
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])

    def offsets_mm(self, box: Box, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How far the voxels of a box lie from a voxel along slabs, rows and columns, each to be broadcast."""
        z, y, x = (
            step * (np.arange(part.start, part.stop, dtype=np.float32) - float(c))
            for part, c, step in zip(box, centre, self.spacing_mm)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]


@dataclass(frozen=True, eq=False)
class Painted:
    """One finding that was painted.

    Attributes:
        finding: Id of its term in the lexicon.
        side: Side, ``left`` or ``right``; None for a finding without a side.
        mask: Mask of the finding, bool [slab y x].
        attributes: Terms of the lexicon that are true of it.
        size_mm: Diameter in mm, where that is meaningful.
        haze: Mask of hazy lung beside it that is not the finding, bool [slab y x]: neither ground glass nor free of it.
            Beside emphysema: of lung that has become thinner, neither emphysema nor free of it.
        structure: Id of the term of its organ.
        more: Findings painted along with it: a cavity in a mass, the same finding on the other side.
    """

    finding: str
    side: str | None
    mask: np.ndarray
    attributes: tuple[str, ...] = ()
    size_mm: float | None = None
    haze: np.ndarray | None = None
    structure: str = "lung"
    more: tuple[Painted, ...] = ()

    @property
    def everything(self) -> list[Painted]:
        """This one, and whatever was painted along with it."""
        return [replace(self, more=()), *(one for other in self.more for one in other.everything)]


def fill_air(volume_hu: np.ndarray, fraction: np.ndarray, fluid_hu: np.ndarray | float) -> np.ndarray:
    """Replaces a fraction of the *air* of every voxel by fluid; what holds no air (vessels) stays as it was."""
    air = np.clip(-volume_hu / 1000.0, 0.0, 1.0)
    return volume_hu + fraction * air * (1000.0 + np.asarray(fluid_hu, np.float32))


def empty_air(volume_hu: np.ndarray, fraction: np.ndarray, air_hu: np.ndarray | float) -> np.ndarray:
    """Replaces a fraction of the *lung* of every voxel by air; vessels and walls (above -400 HU) stay as they were."""
    lung = np.clip((-volume_hu - 400.0) / 250.0, 0.0, 1.0)
    return volume_hu + fraction * lung * (np.minimum(volume_hu, air_hu) - volume_hu)


def blob(
    canvas: Canvas, centre: np.ndarray | None, diameter_mm: float, *, rough: float, spiculated: bool
) -> tuple[Box, np.ndarray] | None:
    """A box around an irregular ellipsoid, and the relative distance from its centre: 1 at its edge."""
    if centre is None:
        return None
    rng = canvas.rng
    half = np.ceil(diameter_mm * 0.95 / np.asarray(canvas.spacing_mm)).astype(int) + 2
    low = np.maximum(0, centre - half)
    high = np.minimum(canvas.volume_hu.shape, centre + half + 1)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    axes = (np.arange(a, b, dtype=np.float32) - c for a, b, c in zip(low, high, centre))
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * np.asarray(canvas.spacing_mm, np.float32)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    stretch = np.exp(rng.uniform(-0.25, 0.25, 3))
    stretch /= stretch.max()  # the diameter is the longest one
    turned = offset @ (rotation / (stretch * diameter_mm / 2)).astype(np.float32)
    radius = np.linalg.norm(turned, axis=-1)
    scale = float(2.0 ** np.round(np.log2(np.clip(diameter_mm * rng.uniform(0.25, 0.6), 4, 32))))
    radius = radius + rough * canvas.noise(box, scale)
    if spiculated:
        spikes = rng.standard_normal((int(rng.integers(6, 18)), 3)).astype(np.float32)
        spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
        direction = turned / np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
        sharpness = rng.uniform(25, 90)
        near = np.exp(sharpness * (direction @ spikes.T - 1)) * rng.uniform(0.2, 0.6, len(spikes)).astype(np.float32)
        radius = radius / (1 + near.max(axis=-1))
    return box, radius.astype(np.float32)


def soft(radius: np.ndarray, diameter_mm: float, edge_mm: float, at: float = 1.0) -> np.ndarray:
    """1 inside, 0 outside, with an edge ``edge_mm`` wide where the relative distance is ``at``."""
    return np.clip((at - radius) * diameter_mm / 2 / edge_mm + 0.5, 0, 1)


def ramp(distance_mm: np.ndarray, edge_mm: float) -> np.ndarray:
    """1 where a signed distance is positive, 0 where it is negative, with an edge ``edge_mm`` wide between."""
    return np.clip(distance_mm / edge_mm + 0.5, 0, 1)


def inside_lung(canvas: Canvas, box: Box) -> np.ndarray:
    """The lung that the box is mostly in, without what is taken, as 0 or 1."""
    lungs = canvas.lungs[box]
    counts = np.bincount(lungs[tuple(n // 2 for n in lungs.shape)].ravel(), minlength=3)
    middle = counts[1:].argmax() + 1 if counts[1:].any() else np.bincount(lungs.ravel(), minlength=3)[1:].argmax() + 1
    return ((lungs == middle) & ~canvas.taken[box]).astype(np.float32)


def bounds(mask: np.ndarray, margin: int = 1) -> Box:
    """The smallest box around a mask that is not empty, with a margin where there is room."""
    parts = []
    for axis, size in enumerate(mask.shape):
        along = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        parts.append(slice(max(0, along[0] - margin), min(size, along[-1] + 1 + margin)))
    return parts[0], parts[1], parts[2]


def depth_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How deep within a mask each voxel lies, float [slab y x]; the canvas's own end is no border."""
    depth = np.zeros(mask.shape)
    if mask.any():
        # A box with one voxel of margin holds the nearest voxel outside for everything inside.
        box = bounds(mask)
        depth[box] = np.asarray(ndimage.distance_transform_edt(mask[box], spacing_mm))
    return depth


def painted(
    canvas: Canvas,
    finding: str,
    box: Box,
    inside: np.ndarray,
    attributes: list[str],
    size_mm: float | None,
    haze: np.ndarray | None = None,
) -> Painted | None:
    """Enters what was painted into a box of the lungs on the canvas; None where it came to nothing."""
    if inside.sum() < 3:
        return None
    mask = np.zeros(canvas.volume_hu.shape, bool)
    mask[box] = inside
    hazy = None
    if haze is not None:
        hazy = np.zeros_like(mask)
        hazy[box] = haze > 0.05
    canvas.taken |= mask
    sides = np.bincount(canvas.lungs[mask], minlength=3)
    return Painted(finding, SIDES[int(sides[1:].argmax()) + 1], mask, tuple(attributes), size_mm, hazy)


def within(mother: Painted, finding: str, attribute: str, box: Box, inside: np.ndarray) -> Painted:
    """The mother with a finding inside it (a cavity, calcium), as an attribute, and listed along with it."""
    if inside.sum() < 3:
        return mother
    mask = np.zeros(mother.mask.shape, bool)
    mask[box] = inside
    part = Painted(finding, mother.side, mask, structure=mother.structure)
    return replace(mother, attributes=(*mother.attributes, attribute), more=(*mother.more, part))


def together(found: list[Painted | None]) -> Painted | None:
    """The first of them with the others along with it; None where there is none."""
    real = [one for one in found if one is not None]
    return replace(real[0], more=(*real[0].more, *real[1:])) if real else None
