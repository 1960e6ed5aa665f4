"""Where a scan lies in napari.

World coordinates are the patient's, LPS in mm, in the order of napari's axes: (z, y, x), to the head, to the back and
to the patient's left. So an axial slice is shown as radiologists look at it.

The 2D views of napari cut along the axes of the array, which must therefore be in this order, too: arrays are turned to
it, and nothing is resampled. All layers of a scan have one affine, so that they lie on each other in oblique scans as
well, whose 2D views napari draws as if the axes of the array were the patient's.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from tips_med_client import Volume

KEY = "tips_med"
"""Key of a layer's metadata that holds where the scan lies."""

_ZYX_FROM_XYZ = np.eye(4)[[2, 1, 0, 3]]


class NotPlacedError(ValueError):
    """A layer that does not tell where it lies in the patient."""


def display_order(lps_from_kji: np.ndarray) -> tuple[int, int, int]:
    """The axes of an array in the order in which they run along z, y and x most nearly.

    Args:
        lps_from_kji: 4 x 4; maps indices of the array to LPS in mm.
    """
    directions = np.abs(lps_from_kji[:3, :3] / np.linalg.norm(lps_from_kji[:3, :3], axis=0))
    best = max(permutations(range(3)), key=lambda order: sum(directions[2 - n, axis] for n, axis in enumerate(order)))
    return best[0], best[1], best[2]


def turned(volume: Volume, order: tuple[int, int, int]) -> Volume:
    """The same volume with its axes in another order."""
    return Volume(volume.voxels.transpose(order), volume.lps_from_kji[:, [*order, 3]])


def zyx_from_index(volume: Volume) -> np.ndarray:
    """The affine of a layer: maps indices of the array to world coordinates, 4 x 4."""
    return _ZYX_FROM_XYZ @ volume.lps_from_kji


def scan_layer(
    volume: Volume, name: str, limits: tuple[float, float], modality: str | None, study: str | None = None
) -> tuple[np.ndarray, dict[str, Any], str]:
    """An image layer of a scan, as napari takes it.

    Args:
        volume: The scan, [k j i] as it was read.
        name: Name of the layer.
        limits: The values that are shown black and white.
        modality: DICOM's code for it; None where it is not known.
        study: Id of the study, where the server has the scan already, as it was read.
    """
    order = display_order(volume.lps_from_kji)
    shown = turned(volume, order)
    place = {"lps_from_index": shown.lps_from_kji.tolist(), "order": list(order), "modality": modality, "study": study}
    options = {
        "name": name,
        "affine": zyx_from_index(shown),
        "contrast_limits": limits,
        "colormap": "gray",
        "metadata": {KEY: place},
    }
    return np.ascontiguousarray(shown.voxels), options, "image"


def volume_of(layer: Any) -> Volume:
    """The scan of a layer, [k j i] in the order that it is shown in.

    Raises:
        NotPlacedError: It does not tell where it lies in the patient.
    """
    place = (getattr(layer, "metadata", None) or {}).get(KEY)
    voxels = np.asarray(layer.data)
    if not isinstance(place, dict) or voxels.ndim != 3:
        raise NotPlacedError(
            f"The layer {layer.name!r} does not tell where it lies in the patient, so left and right are not known. "
            "Open the scan with napari-tips-med."
        )
    return Volume(voxels, np.array(place["lps_from_index"], dtype=np.float64))


def index_of(volume: Volume, lps: tuple[float, float, float]) -> np.ndarray:
    """A place, LPS in mm, as an index of the array, with fractions."""
    return (np.linalg.inv(volume.lps_from_kji) @ [*lps, 1.0])[:3]


def sliders_at(volume: Volume, lps: tuple[float, float, float]) -> tuple[float, float, float]:
    """Where napari's sliders, in world coordinates, show a place, LPS in mm.

    That is the place itself unless the scan is oblique: then napari takes the slice from a single row of the affine.
    """
    index_from_zyx = np.linalg.inv(zyx_from_index(volume))
    at = index_of(volume, lps)
    z, y, x = ((at[axis] - index_from_zyx[axis, 3]) / index_from_zyx[axis, axis] for axis in range(3))
    return float(z), float(y), float(x)
