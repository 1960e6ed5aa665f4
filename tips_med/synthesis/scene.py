"""Scenes: a piece of an anatomy, deformed, with findings painted in and scanned anew, and the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tips_med.synthesis.acquisition import acquire
from tips_med.synthesis.anatomy import LEFT, RIGHT, Anatomy
from tips_med.synthesis.findings import PAINTERS, SIDES, Canvas, Painted

MASS_FROM_MM, NODULE_TO_MM = 22.0, 34.0
"""The glossary draws the line at 30 mm; between these two, readers call the same thing by either name."""


@dataclass(frozen=True)
class SceneSpec:
    """How scenes are made.

    Attributes:
        shape: Of a scene, (slab, y, x); a whole anatomy when None.
        weights: How often each finding is painted.
        empty: How many scenes have no painted finding at all, 0 to 1.
        most: Findings painted at most.
        mirrored: How many scenes are mirrored, left for right.
        strength: Of the acquisition's randomness.
    """

    shape: tuple[int, int, int] | None = (8, 144, 192)
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "nodule": 3.0,
            "mass": 1.2,
            "ground_glass_opacity": 2.5,
            "consolidation": 1.2,
            "pleural_effusion": 0.8,
            "pneumothorax": 0.6,
        }
    )
    empty: float = 0.25
    most: int = 4
    mirrored: float = 0.3
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """What the scanner gives and what is true.

    Attributes:
        volume_hu: float32 [slab y x].
        lungs: 1 right, 2 left; None where the anatomy's are not labelled.
        findings: Painted, or real and outlined.
        ignored: Where nobody knows, [slab y x].
        offset_mm: Where the first pixel's centre lies from the middle of the body, (y, x), in mm.
        spacing_mm: Of the grid.
    """

    volume_hu: np.ndarray
    lungs: np.ndarray | None
    findings: tuple[Painted, ...]
    ignored: np.ndarray
    offset_mm: tuple[float, float]
    spacing_mm: tuple[float, float, float]

    def where(self, finding: str, side: str | None = None, attribute: str | None = None) -> np.ndarray:
        """The mask of a finding, [slab y x]: of one side, or with one attribute, if asked."""
        mask = np.zeros(self.volume_hu.shape, bool)
        for painted in self.findings:
            if finding not in names(painted) or side not in (None, painted.side):
                continue
            if attribute is None or attribute in painted.attributes:
                mask |= painted.mask
        return mask

    def unknown(self, finding: str) -> np.ndarray:
        """Where the finding can be neither claimed nor denied, [slab y x]."""
        unknown = self.ignored.copy()
        for painted in self.findings:
            if finding in ("ground_glass_opacity", "consolidation"):
                if painted.haze is not None:
                    unknown |= painted.haze & ~painted.mask
                if finding == "ground_glass_opacity" and "part_solid" in painted.attributes:
                    unknown |= painted.mask
        return unknown & ~self.where(finding)


def names(painted: Painted) -> set[str]:
    """Every finding that this one may rightly be called."""
    called = {painted.finding}
    if painted.finding in ("nodule", "mass"):
        called.add("lesion")
    if painted.finding in ("nodule", "mass") and painted.size_mm is not None:
        if painted.size_mm >= MASS_FROM_MM:
            called.add("mass")
        if painted.size_mm <= NODULE_TO_MM:
            called.add("nodule")
    if "ground_glass" in painted.attributes:
        called.add("ground_glass_opacity")
    return called


def make_scene(anatomy: Anatomy, spec: SceneSpec, rng: np.random.Generator) -> Scene:
    """Paints one scene; the same generator state gives the same scene."""
    volume, lungs, lesions, ignored, offset_mm = _cut(anatomy, spec, rng)
    findings = _real(anatomy, lungs, lesions)
    if lungs is not None and rng.random() >= spec.empty:
        canvas = Canvas(volume, lungs, anatomy.spacing_mm, rng, (lesions > 0) | ignored)
        findings += _paint(canvas, spec, rng)
    volume = acquire(volume, anatomy.spacing_mm, rng, spec.strength)
    return Scene(volume, lungs, tuple(findings), ignored, offset_mm, anatomy.spacing_mm)


def _paint(canvas: Canvas, spec: SceneSpec, rng: np.random.Generator) -> list[Painted]:
    kinds = list(spec.weights)
    chance = np.array([spec.weights[kind] for kind in kinds])
    wanted = rng.choice(kinds, size=int(rng.integers(1, spec.most + 1)), p=chance / chance.sum())
    # What takes the lung's place comes before what grows in it.
    order = sorted(wanted, key=lambda kind: kind not in ("pleural_effusion", "pneumothorax"))
    return [painted for kind in order if (painted := PAINTERS[str(kind)](canvas)) is not None]


def _real(anatomy: Anatomy, lungs: np.ndarray | None, lesions: np.ndarray) -> list[Painted]:
    found = []
    for number, size_mm in enumerate(anatomy.lesion_mm, start=1):
        mask = lesions == number
        if mask.sum() < 3:
            continue
        near = ndimage.grey_dilation(lungs, (1, 5, 5))[mask] if lungs is not None else np.zeros(1, np.uint8)
        sides = np.bincount(near, minlength=3)
        side = SIDES[int(sides[1:].argmax()) + 1]
        found.append(Painted("mass" if size_mm > 30 else "nodule", side, mask, (), size_mm))
    return found


def _cut(
    anatomy: Anatomy, spec: SceneSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray, tuple[float, float]]:
    """A deformed piece: volume, lungs, lesions, ignored, and where its corner is from the body's middle."""
    middle = np.array(anatomy.middle_yx)
    step = np.array(anatomy.spacing_mm[1:])
    mirror = rng.random() < spec.mirrored
    angle = np.deg2rad(rng.normal(0, 6))
    zoom = np.exp(rng.uniform(-0.16, 0.16) + rng.normal(0, 0.03, 2))
    matrix = np.eye(3)
    matrix[0, 0] = np.exp(rng.uniform(-0.3, 0.2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[1:, 1:] = turn @ np.diag(zoom)
    if mirror:
        matrix[:, 2] *= -1
    # The body's middle lies near the middle of the scene; both are told to the network, one with a small lie.
    shape = spec.shape or _whole(anatomy)
    at = np.array(shape[1:]) / 2 - 0.5 + rng.uniform(-14, 14, 2)
    slab = _slab(anatomy, rng) if spec.shape else len(anatomy.volume_hu) / 2 - 0.5
    source = np.array([slab, *middle])
    shift = source - matrix @ np.array([shape[0] / 2 - 0.5, *at])

    def sample(array: np.ndarray, order: int, outside: float) -> np.ndarray:
        return ndimage.affine_transform(
            array,
            matrix,
            shift,  # pyright: ignore[reportArgumentType] (the stubs know of a single number only)
            shape,
            order=order,
            mode="constant",
            cval=outside,
            prefilter=False,
        )

    # Slabs beyond the scan's ends repeat the last one, as the tower's own channels do.
    rows = np.clip(np.rint(matrix[0, 0] * np.arange(shape[0]) + shift[0]), 0, len(anatomy.volume_hu) - 1)
    low, high = int(rows.min()), int(rows.max()) + 1
    shift[0] -= low
    piece = slice(max(0, low - 1), high + 1)
    shift[0] += low - piece.start
    volume = sample(anatomy.volume_hu[piece].astype(np.float32), 1, np.nan)
    missing = np.isnan(volume)
    for slab in range(1, shape[0]):
        if missing[slab].all():
            volume[slab] = volume[slab - 1]
    for slab in range(shape[0] - 2, -1, -1):
        if np.isnan(volume[slab]).all():
            volume[slab] = volume[slab + 1]
    ended = missing.all(axis=(1, 2))
    volume = np.nan_to_num(volume, nan=-1024.0)
    lesions = sample(anatomy.lesions[piece], 0, 0)
    ignored = sample(anatomy.ignored[piece].astype(np.uint8), 0, 0) > 0
    ignored[ended] = True
    lungs = None
    if anatomy.lungs is not None:
        lungs = sample(anatomy.lungs[piece], 0, 0)
        if mirror:
            lungs = np.array([0, LEFT, RIGHT], np.uint8)[lungs]
    lie = rng.normal(0, 6, 2)
    y, x = -at * step + lie
    return volume, lungs, lesions, ignored, (float(y), float(x))


def _whole(anatomy: Anatomy) -> tuple[int, int, int]:
    """A shape that holds the whole anatomy, with whole tokens of the deepest level in y and x."""
    slabs, rows, columns = anatomy.volume_hu.shape
    return slabs, -(-rows // 16) * 16, -(-columns // 16) * 16


def _slab(anatomy: Anatomy, rng: np.random.Generator) -> float:
    """Where to cut: mostly where lungs are, or where a real lesion is."""
    chance = rng.random()
    if chance < 0.2 and anatomy.lesions.any():
        return float(rng.choice(np.flatnonzero(anatomy.lesions.any(axis=(1, 2))))) + rng.uniform(-3, 3)
    if chance < 0.85 and anatomy.lungs is not None:
        return float(rng.choice(np.flatnonzero(anatomy.lungs.any(axis=(1, 2)))))
    return float(rng.uniform(0, len(anatomy.volume_hu) - 1))


def pick_anatomy(anatomies: Sequence[Anatomy], rng: np.random.Generator) -> Anatomy:
    """One of them: those with labelled lungs six times as often as the others."""
    weight = np.array([1.0 if anatomy.lungs is None else 6.0 for anatomy in anatomies])
    return anatomies[int(rng.choice(len(anatomies), p=weight / weight.sum()))]
