"""Scenes: a crop of an anatomy, deformed, with findings painted in and scanned anew, and the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tips_med.synthesis.acquisition import AcquisitionSpec, acquire, limit_view
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.deform import Deformation, DeformedCrop, sample_deformed_crop
from tips_med.synthesis.findings import SIDES, Canvas, Painted, known_findings

MASS_FROM_MM, NODULE_TO_MM = 22.0, 34.0
"""The glossary draws the line at 30 mm; between these two, readers call the same thing by either name."""

HAZY = ("ground_glass_opacity", "consolidation", "atelectasis")
"""Findings that the haze around a finding may or may not be."""

SOLID = ("nodule", "mass", "lesion")
"""What a consolidation in which no bronchus shows may as well be called."""


@dataclass(frozen=True)
class SceneSpec:
    """How scenes are made.

    Attributes:
        shape: Shape of a scene, (slab, y, x); a whole anatomy when None.
        weights: Relative frequency of each finding, 0 or more.
        empty: Share of scenes without a painted finding, 0 to 1.
        max_findings: Maximum number of painted findings; few are likelier than many.
        deformation: Deformation of the body.
        strength: Strength of the acquisition's randomness, 0 or more.
        acquisition: Other differences between scanners; none when None.
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
    max_findings: int = 4
    deformation: Deformation = field(default_factory=Deformation)
    strength: float = 1.0
    acquisition: AcquisitionSpec | None = None

    def in_turn(self, number: int) -> str | None:
        """What is painted for sure into one of many scenes: every kind in turn, and nothing in each fourth of them.

        Left to chance, a few dozen scenes would have hardly any of what is rare.
        """
        kinds = [kind for kind, weight in self.weights.items() if weight > 0]
        return kinds[(number - number // 4) % len(kinds)] if kinds and number % 4 < 3 else None


@dataclass(frozen=True, eq=False)
class Scene:
    """What the scanner gives and what is true.

    Attributes:
        volume_hu: Hounsfield units, float32 [slab y x].
        lungs: Label map of the lungs, 1 right, 2 left; None where the anatomy's are not labelled.
        findings: Findings, painted or real and outlined.
        ignored: Mask of cells with unknown truth, bool [slab y x].
        offset_mm: Position of the first pixel's centre relative to the middle of the body, (y, x) in mm.
        spacing_mm: Spacing of the grid in mm.
        thin: Mask of lung that was thin enough to be emphysema before anything was painted, bool [slab y x].
        hemithorax: Label map, 1 right, 2 left, [slab y x]: the lungs as they were before anything was painted, and so
            with all fluid, air and airless lung that took their place; None where the anatomy's lungs are not labelled.
        unseen: Mask of the area outside the field of view, bool [y x]; none when None. It is part of ``ignored``.
    """

    volume_hu: np.ndarray
    lungs: np.ndarray | None
    findings: tuple[Painted, ...]
    ignored: np.ndarray
    offset_mm: tuple[float, float]
    spacing_mm: tuple[float, float, float]
    thin: np.ndarray | None = None
    hemithorax: np.ndarray | None = None
    unseen: np.ndarray | None = None

    def where(self, finding: str, side: str | None = None, attribute: str | None = None) -> np.ndarray:
        """The mask of a finding, [slab y x]: of one side, or with one attribute, if given."""
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
        declared = known_findings().get(finding)
        indistinct = declared.indistinct_from if declared is not None else ()
        if finding == "emphysema" and self.thin is not None:
            unknown |= self.thin
        for painted in self.findings:
            hazy = finding == "emphysema" if painted.finding == "emphysema" else finding in HAZY
            if hazy and painted.haze is not None:
                unknown |= painted.haze & ~painted.mask
            if painted.finding in indistinct:
                unknown |= painted.mask
            if finding == "ground_glass_opacity" and "part_solid" in painted.attributes:
                unknown |= painted.mask
            if finding in SOLID and painted.finding == "consolidation" and "solid" in painted.attributes:
                unknown |= painted.mask
            if finding == "cavity" and "cavitary" in painted.attributes:  # whether the wall belongs to it is open
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


def make_scene(anatomy: Anatomy, spec: SceneSpec, rng: np.random.Generator, first: str | None = None) -> Scene:
    """Paints one scene; the same generator state gives the same scene.

    Args:
        anatomy: Anatomy to paint into.
        spec: Specification of scenes.
        rng: Random generator, the only source of randomness.
        first: Finding that is painted in any case, if there is room for it.
    """
    crop = sample_deformed_crop(anatomy, spec.shape, spec.deformation, rng)
    volume, lungs = crop.volume_hu, crop.lungs
    findings = _real(anatomy, crop)
    hemithorax, thin, ignored = None if lungs is None else lungs.copy(), crop.thin, crop.ignored
    if lungs is not None and (first is not None or rng.random() >= spec.empty):
        taken = (crop.lesions > 0) | crop.ignored
        canvas = Canvas(volume, lungs, anatomy.spacing_mm, rng, taken, crop.organs, _gravity(rng))
        canvas.found = findings
        _paint(canvas, spec, rng, first)
        findings, ignored = canvas.found, canvas.follow(ignored)
        hemithorax, thin = (None if one is None else canvas.follow(one) for one in (hemithorax, thin))
    volume = acquire(volume, anatomy.spacing_mm, rng, spec.strength, spec.acquisition)
    unseen = None
    if spec.acquisition is not None:
        volume, unseen = limit_view(volume, anatomy.spacing_mm, rng, spec.acquisition)
        ignored = ignored | unseen
    return Scene(volume, lungs, tuple(findings), ignored, crop.offset_mm, anatomy.spacing_mm, thin, hemithorax, unseen)


def _gravity(rng: np.random.Generator) -> tuple[float, float]:
    """Where down is: mostly to the back, at times to the front or to one side."""
    chance = rng.random()
    if chance < 0.84:
        return 1.0, 0.0
    return (-1.0, 0.0) if chance < 0.92 else (0.0, float(rng.choice([-1.0, 1.0])))


def _paint(canvas: Canvas, spec: SceneSpec, rng: np.random.Generator, first: str | None) -> None:
    """Paints onto a canvas: one finding for sure, and others by chance."""
    kinds = list(spec.weights)
    chance = np.array([spec.weights[kind] for kind in kinds])
    number = min(int(rng.integers(1, spec.max_findings + 1)), int(rng.integers(1, spec.max_findings + 1)))
    wanted = list(rng.choice(kinds, size=number, p=chance / chance.sum()))
    if first is not None:
        wanted[0] = first
    known = known_findings()
    for kind in sorted(wanted, key=lambda kind: known[kind].turn):
        canvas.add(known[str(kind)].paint(canvas))


def _real(anatomy: Anatomy, crop: DeformedCrop) -> list[Painted]:
    found = []
    for number, size_mm in enumerate(anatomy.lesion_mm, start=1):
        mask = crop.lesions == number
        if mask.sum() < 3:
            continue
        near = ndimage.grey_dilation(crop.lungs, (1, 5, 5))[mask] if crop.lungs is not None else np.zeros(1, np.uint8)
        sides = np.bincount(near, minlength=3)
        side = SIDES[int(sides[1:].argmax()) + 1]
        found.append(Painted("mass" if size_mm > 30 else "nodule", side, mask, (), size_mm))
    return found


def pick_anatomy(anatomies: Sequence[Anatomy], rng: np.random.Generator) -> Anatomy:
    """One of them: those with labelled lungs six times as often as the others."""
    weight = np.array([1.0 if anatomy.lungs is None else 6.0 for anatomy in anatomies])
    return anatomies[int(rng.choice(len(anatomies), p=weight / weight.sum()))]
