"""More like this: where in a study the patches look most like a region of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage

from tips_med.archive.vectors import region_means
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import CONNECTIVITY_18, transform_points, voxel_volume_mm3
from tips_med.grounding.maps import study_thorax
from tips_med.grounding.thorax import anatomical_label
from tips_med.model import GroundingModel

ALIKE = 0.95
"""Patches beside the most similar one with at least this share of its cosine belong to the same place."""

_EQUAL = 1e-3
"""Difference of two cosines below which they are the same."""


@dataclass(frozen=True)
class AlikePlace:
    """The place of a study that is most like a region.

    Attributes:
        cosine: Cosine of both embeddings, each less the archive's centre.
        lps: Its place, LPS in mm.
        side: Side of the patient; empty where it has none, or it is not known.
        region: Region in words.
        volume_ml: Volume of the patches that belong to it, ml: coarse, for a patch is 16 mm wide.
    """

    cosine: float
    lps: tuple[float, float, float]
    side: str
    region: str
    volume_ml: float


def most_alike(
    study: EncodedStudy, direction: np.ndarray, centre: np.ndarray, radius_mm: float, model: GroundingModel
) -> AlikePlace | None:
    """Compares the region about every patch with another scan's region of the same size.

    Args:
        study: Encoded study.
        direction: Embedding of the region less the centre, of length 1, float32 [width].
        centre: Centre of the archive, float32 [width].
        radius_mm: Radius of both regions, mm.
        model: The model that encoded both.

    Returns:
        The most similar place; None where the study shows no body.
    """
    means, valid = region_means(study, radius_mm, model)
    moved = means - centre
    lengths = np.linalg.norm(moved, axis=-1)
    cosine = np.where(valid, moved @ direction / np.maximum(lengths, 1e-6), -1.0)
    if not valid.any():
        return None
    best = float(cosine.max())
    # A region that holds only some of the finding may point the same way: of equals, the strongest is its place.
    peak = np.unravel_index(int(np.where(cosine >= best - _EQUAL, lengths, -1).argmax()), cosine.shape)
    own = cosine >= ALIKE * best
    if best > 0:
        labels, _ = cast("tuple[np.ndarray, int]", ndimage.label(own, CONNECTIVITY_18))
        own = labels == labels[peak]
    affine = study.features.lps_from_patch
    x, y, z = (float(value) for value in transform_points(affine, np.array(peak))[0])
    side, region = _named(study, (x, y, z), model)
    return AlikePlace(best, (x, y, z), side, region, float(own.sum() * voxel_volume_mm3(affine) / 1000))


def _named(study: EncodedStudy, lps: tuple[float, float, float], model: GroundingModel) -> tuple[str, str]:
    if "lung" not in model.card.structures:
        return "", ""
    thorax = study_thorax(study, model)
    if not thorax.seen:
        return "", ""
    affine = study.features.lps_from_fine
    affine = study.features.lps_from_patch if affine is None else affine
    index = np.rint(transform_points(np.linalg.inv(affine), np.array(lps))[0]).astype(int)
    slab, y, x = (int(n) for n in np.clip(index, 0, np.array(thorax.side.shape) - 1))
    side, region = anatomical_label(thorax, (slab, y, x))
    return side or "", region
