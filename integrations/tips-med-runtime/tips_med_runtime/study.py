"""A scan on the working grid, with its body: all that is found before a network sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tips_med_runtime.body import Body, find_body
from tips_med_runtime.geometry import index_from_crop
from tips_med_runtime.grid import BODY_MARGIN, SlabSpec, body_crop, bridge_gaps, working_grid
from tips_med_runtime.grounding.thorax import Thorax
from tips_med_runtime.networks import Features, Networks, quantized
from tips_med_runtime.resampling import resample
from tips_med_runtime.scan import Scan
from tips_med_runtime.shapes import Affine, Heat

Progress = Callable[[int, int], None]
"""Called with (slabs done, all slabs)."""


@dataclass(eq=False)
class Study:
    """A scan that any number of questions may be asked of.

    Attributes:
        scan: The scan.
        volume: Its values on the working grid, around the body, gaps filled, [slab y x].
        seen: Mask of measured cells, bool [slab y x].
        body: Outline and midline of the body.
        lps_from_cell: Maps (slab, y, x, 1) to LPS in mm.
        weights_sha256: Of the weights that encode it.
        features: Of the model (0) and of its adapters that were needed, by number.
        maps: Maps of phrases, by phrase.
        thorax: The chest; None until it is needed.
    """

    scan: Scan
    volume: np.ndarray
    seen: np.ndarray
    body: Body
    lps_from_cell: Affine
    weights_sha256: str
    features: dict[int, Features] = field(default_factory=dict)
    maps: dict[str, Heat] = field(default_factory=dict)
    thorax: Thorax | None = None


def open_study(scan: Scan, spec: SlabSpec, weights_sha256: str) -> Study:
    """Puts a scan on the working grid and finds the body in it.

    Raises:
        ReadError: It is larger than any body.
    """
    affine, shape = working_grid(scan, spec)
    volume = resample(scan.voxels, scan.lps_from_kji, affine, shape)
    seen = np.isfinite(volume)
    filled = bridge_gaps(volume, spec.spacing_mm[0])
    body = find_body(filled, seen, spec.spacing_mm, (float(affine[1, 3]), float(affine[0, 3])))
    if (box := body_crop(body.inside, spec.patch, BODY_MARGIN)) is not None:
        rows, columns = box
        filled, seen, body = filled[:, rows, columns], seen[:, rows, columns], body.cropped(rows, columns)
        affine = affine @ index_from_crop((0, rows.start, columns.start))
    return Study(scan, filled, seen, body, affine, weights_sha256)


def encode(
    study: Study,
    networks: Networks,
    spec: SlabSpec,
    multiple: int,
    reach: int,
    block: int,
    progress: Progress | None = None,
) -> Features:
    """Runs the image network over a study, some slabs at a time.

    A slab attends to those within ``reach`` and to no others, so each block is given with as many on either side: what
    comes out is what all slabs at once would give.

    Args:
        study: With its body.
        networks: Of the model or an adapter.
        spec: Slabs of the model.
        multiple: Rows and columns are padded to multiples of it, with air.
        reach: Number of slabs on either side that a slab's features depend on.
        block: Number of slabs at a time, beside these.
        progress: Told of slabs.
    """
    slabs, rows, columns = study.volume.shape
    middle_y_mm, middle_x_mm = study.body.middle_mm
    offset = float(study.lps_from_cell[1, 3] - middle_y_mm), float(study.lps_from_cell[0, 3] - middle_x_mm)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(0, slabs, block):
        last = min(first + block, slabs)
        low, high = max(0, first - reach), min(slabs, last + reach)
        pixels = stack_channels(study.volume, spec, low, high)
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, -rows % multiple), (0, -columns % multiple)))
        patches, fine = networks.features(pixels, offset)
        own = slice(first - low, last - low)
        values, step = quantized(fine[own, :rows, :columns])
        values[~study.body.inside[first:last]] = 0  # nothing is searched outside the body
        patches = patches[own, : rows // spec.patch, : columns // spec.patch].astype(np.float16)
        parts.append((patches, values, step))
        if progress:
            progress(last, slabs)
    patches, fine, step = (np.concatenate(one) for one in zip(*parts))
    return Features(patches, fine, step)


def stack_channels(volume: np.ndarray, spec: SlabSpec, low: int, high: int) -> np.ndarray:
    """Windows and neighbours of some slabs of a volume in HU, [slab y x] -> [slab channel y x], 0 to 1.

    The first and the last slab of the volume stand in for the neighbours that they lack.
    """
    offsets = range(-spec.neighbours, spec.neighbours + 1)
    out = np.empty((high - low, spec.channels, *volume.shape[1:]), np.float32)
    wanted = np.arange(low, high)
    first, last = max(0, low - spec.neighbours), min(len(volume), high + spec.neighbours)
    for window, (lower, upper) in enumerate(spec.windows_hu):
        scaled = np.clip((volume[first:last] - np.float32(lower)) / np.float32(upper - lower), 0, 1)
        for number, offset in enumerate(offsets):
            index = np.clip(wanted + offset, 0, len(volume) - 1) - first
            out[:, window * len(offsets) + number] = scaled[index]
    return out
