"""A body of two lungs with spheres in it, and a model that knows by rule what is where: no weights, no luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from tips_med.alignment import AlignmentHead
from tips_med.card import Calibration, ModelCard
from tips_med.encoders.base import ImageFeatures, ImageTower, Progress, TextFeatures, TextTower
from tips_med.geometry import index_from_block
from tips_med.model import GroundingModel
from tips_med.scan import Provenance, Scan
from tips_med.slabs import SlabSpec, SlabStack

AIR, LUNG, TISSUE, MASS, HAZE = -1000.0, -850.0, 10.0, 45.0, -500.0
SPEC = SlabSpec(spacing_mm=(3.0, 3.0, 3.0), windows_hu=((-1100.0, 1100.0),), neighbours=0, patch=4)


SHAPE = (80, 100, 100)
AFFINE = np.diag([3.0, 2.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
AFFINE[:3, 3] = -AFFINE[:3, :3] @ (np.array(SHAPE) - 1) / 2


def body(
    spheres: Sequence[tuple[tuple[float, float, float], float, float]] = (),
    lps_from_kji: np.ndarray = AFFINE,
    shape: tuple[int, int, int] = SHAPE,
) -> Scan:
    """A patient around the origin: lungs at x = -60 and +60 mm, spheres of a value in HU; on any grid.

    Args:
        spheres: Centre in LPS, radius in mm, value in HU.
        lps_from_kji: How the patient was scanned.
        shape: Of the scan.
    """
    points = np.indices(shape).reshape(3, -1).T @ lps_from_kji[:3, :3].T + lps_from_kji[:3, 3]
    x, y, z = points.T.reshape(3, *shape)
    voxels = np.where(((x / 140) ** 2 + (y / 90) ** 2 < 1) & (np.abs(z) < 118), TISSUE, AIR)
    for side in (-60, 60):
        voxels[((x - side) / 45) ** 2 + (y / 65) ** 2 + (z / 105) ** 2 < 1] = LUNG
    for (cx, cy, cz), radius, value in spheres:
        voxels[(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2] = value
    uids = tuple(f"1.2.3.{n}" for n in range(shape[0]))
    return Scan(voxels.astype(np.float32), lps_from_kji, "CT", "HU", Provenance("dicom", instance_uids=uids))


class RuleImage(ImageTower):
    """Fine features: right lung, left lung, mass, haze; by value and by x."""

    name = "rule"
    slab_spec = SPEC
    modalities = ("CT",)

    def encode(self, slabs: SlabStack, progress: Progress | None = None) -> ImageFeatures:
        hu = slabs.pixels[:, 0] * 2200 - 1100
        x = torch.from_numpy(slabs.lps_from_pixel[0, 2] * np.arange(hu.shape[2]) + slabs.lps_from_pixel[0, 3])
        # Opened, because the edge of a lung passes through every value on its way to tissue.
        cube = np.ones((3, 3, 3))
        mass, haze = (
            torch.from_numpy(ndimage.binary_dilation(ndimage.binary_opening((hu > low) & (hu < high), cube)))
            for low, high in ((28, 200), (-640, -300))
        )
        mass &= hu > -400  # half-way between a mass and the lung around it
        lung = ((hu > -960) & (hu < -640)) | mass | haze
        fine = torch.stack([lung & (x < 0), lung & (x > 0), mass, haze], dim=-1).half()
        slab, rows, columns = hu.shape
        patches = torch.zeros(slab, rows // 4, columns // 4, 2)
        if progress:
            progress(slab, slab)
        return ImageFeatures(patches, slabs.lps_from_pixel @ index_from_block((1, 4, 4)), fine, slabs.lps_from_pixel)


class RuleText(TextTower):
    """Which of the fine features a word asks for; left and right are told apart by the lung's words only."""

    name = "rule"
    meanings = {"mass": 2, "masses": 2, "ground": 3, "glass": 3, "opacity": 3, "opacities": 3}

    def embed(self, phrases: Sequence[str]) -> list[TextFeatures]:
        return [self._embed(tuple(phrase.split())) for phrase in phrases]

    def _embed(self, words: tuple[str, ...]) -> TextFeatures:
        tokens = torch.stack([self._word(word) for word in words])
        finding = [word for word in words if word in self.meanings]
        pooled = self._word(finding[0]) if finding else self._lung(words)
        return TextFeatures(tokens, pooled[None], words)

    def _word(self, word: str) -> torch.Tensor:
        vector = torch.zeros(4)
        if word in self.meanings:
            vector[self.meanings[word]] = 1
        elif word in ("left", "right"):
            vector[0 if word == "right" else 1] = 1
        elif word in ("lung", "lungs"):
            vector[:2] = 1
        return vector

    def _lung(self, words: tuple[str, ...]) -> torch.Tensor:
        vector = torch.zeros(4)
        vector[0], vector[1] = float("left" not in words), float("right" not in words)
        return vector


def rule_model() -> GroundingModel:
    """Logits of +8 where a feature is asked for and there, -4 elsewhere."""
    head = AlignmentHead(4, 2, 4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.to_fine.weight.copy_(torch.eye(4) * 12 * 4**0.5)
        head.bias.bias.fill_(-4.0)
    findings = ("mass", "ground_glass_opacity", "pleural_effusion")
    card = ModelCard("rule", findings, calibration={term: Calibration() for term in (*findings, "lung")})
    return GroundingModel(RuleImage(), RuleText(), head, card, "0" * 64)
