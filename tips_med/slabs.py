"""2.5D slabs: a scan on the working grid of an encoder, each slab with its neighbours and windows as channels.

The working grid is axial, along the patient's own axes, whatever the scan's orientation: sagittal, coronal, oblique
and mirrored scans all arrive at the same slabs, and ``lps_from_pixel`` places them. Nothing is undone later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tips_med.body import Body, find_body, unknown_body
from tips_med.errors import ReadError
from tips_med.geometry import grid_corners, index_from_crop
from tips_med.resampling import blend_planes, resample
from tips_med.scan import Scan
from tips_med.shapes import Affine, SlabPixels

MAX_CELLS = 400_000_000
"""Cells of the working grid beyond which a scan is refused: no body is that large."""

MAX_BRIDGE_MM = 15.0
"""The longest way from one measured slab to the next over which a network is shown what may lie between."""

BODY_MARGIN = 8
"""Pixels of air around the body that a tower is shown."""


@dataclass(frozen=True)
class SlabSpec:
    """How slabs are cut.

    Attributes:
        spacing_mm: Spacing of the working grid in mm: between slabs, rows and columns.
        windows_hu: Intensity windows (low, high), each scaled to [0, 1]; one group of channels each.
        neighbours: Number of slabs on either side that are channels beside the slab itself (1 gives three).
        patch: Pixels along an edge of a patch; the grid is padded to a multiple of it.
    """

    spacing_mm: tuple[float, float, float] = (2.5, 2.0, 2.0)
    windows_hu: tuple[tuple[float, float], ...] = ((-1050.0, -150.0), (-200.0, 300.0))
    neighbours: int = 1
    patch: int = 8

    @property
    def channels(self) -> int:
        """Channels of a slab: every window of every neighbour."""
        return len(self.windows_hu) * (2 * self.neighbours + 1)


@dataclass(frozen=True, eq=False)
class SlabStack:
    """Slabs of one scan.

    Attributes:
        values: Values of the scan, [slab y x], float32, of which ``parts`` and ``pixels`` make channels; or channels
            that were made before, [slab channel y x]. Unseen area has the value of air.
        seen: Mask of measured cells, bool [slab y x].
        lps_from_pixel: Maps (slab, y, x, 1) to LPS in mm.
        spec: Specification that they were made with.
        body: Outline and midline of the body, on the same grid; its positions are in LPS.
    """

    values: torch.Tensor
    seen: torch.Tensor
    lps_from_pixel: Affine
    spec: SlabSpec
    body: Body

    @property
    def pixels(self) -> SlabPixels:
        """Window-scaled values of all slabs, [slab channel y x], float32; made anew each time it is read."""
        return self.values if self.values.ndim == 4 else stack_channels(self.values, self.spec)

    def parts(self, size: int) -> Iterator[SlabPixels]:
        """``pixels``, some consecutive slabs at a time: all channels at once take many times the memory of the scan.

        Args:
            size: Number of slabs of a part, 1 or more; the last part may be smaller.
        """
        values, around = self.values, self.spec.neighbours
        for first in range(0, len(values), size):
            if values.ndim == 4:
                yield values[first : first + size]
            else:
                start = max(0, first - around)
                part = stack_channels(values[start : first + size + around], self.spec)
                yield part[first - start : first - start + size]


def working_grid(scan: Scan, spec: SlabSpec) -> tuple[Affine, tuple[int, int, int]]:
    """The axial grid along the patient's axes that covers a scan: its affine and its shape (slab, y, x).

    The grid is centred on the scan, and y and x are rounded up to whole patches.
    """
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent_zyx = (high - low)[::-1]
    cells = np.maximum(1, np.floor(extent_zyx / spec.spacing_mm + 0.25)).astype(int)
    cells[1:] = -(-cells[1:] // spec.patch) * spec.patch
    if cells.prod() > MAX_CELLS:
        raise ReadError(
            f"the scan spans {' x '.join(f'{e:.0f}' for e in extent_zyx[::-1])} mm",
            expected="a part of a human body",
            remedy="check the spacing in its header",
            code="extent",
        )
    centre_zyx = ((low + high) / 2)[::-1]
    first_zyx = centre_zyx - (cells - 1) / 2 * np.asarray(spec.spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spec.spacing_mm)[::-1]
    affine[:3, 3] = first_zyx[::-1]
    slabs, rows, columns = (int(n) for n in cells)
    return affine, (slabs, rows, columns)


def make_slabs(scan: Scan, spec: SlabSpec | None = None, *, margin: int | None = None) -> SlabStack:
    """Cuts a scan into slabs.

    Args:
        scan: Scan in any orientation.
        spec: Specification of the slabs; that of the shipped tower when None.
        margin: Pixels of air to keep around the body, see ``slabs_of``; None keeps the whole scan.

    Raises:
        ReadError: ``extent`` when the header makes the scan larger than any body.
    """
    spec = spec or SlabSpec()
    affine, shape = working_grid(scan, spec)
    volume = resample(scan.voxels, scan.lps_from_kji, affine, shape)
    return slabs_of(volume, affine, spec, hounsfield=scan.unit == "HU", margin=margin)


def slabs_of(
    volume: np.ndarray,
    lps_from_pixel: Affine,
    spec: SlabSpec,
    *,
    hounsfield: bool = True,
    margin: int | None = None,
) -> SlabStack:
    """Slabs of a volume that is on the working grid already.

    Args:
        volume: Values, [slab y x], NaN where nothing was measured.
        lps_from_pixel: Maps (slab, y, x, 1) to LPS in mm: axial, along the patient's axes.
        spec: Specification of the slabs; its spacing is the volume's.
        hounsfield: Whether the values are Hounsfield units; without them nothing is known of the body.
        margin: Pixels of air to keep around the body. Rows and columns are left out in whole patches, so that the
            affine moves by whole patches, too; see ``body_crop``. None keeps all of them.
    """
    seen = np.isfinite(volume)
    origin = (float(lps_from_pixel[1, 3]), float(lps_from_pixel[0, 3]))
    filled = bridge_gaps(volume, spec.spacing_mm[0])
    if hounsfield:
        body = find_body(filled, seen, spec.spacing_mm, origin)
    else:
        body = unknown_body(seen, spec.spacing_mm, origin)
    box = None if margin is None else body_crop(body.inside, spec.patch, margin)
    if box is not None:
        rows, columns = box
        filled, seen, body = filled[:, rows, columns], seen[:, rows, columns], body.cropped(rows, columns)
        lps_from_pixel = lps_from_pixel @ index_from_crop((0, rows.start, columns.start))
    return SlabStack(torch.from_numpy(filled), torch.from_numpy(seen), lps_from_pixel, spec, body)


def bridge_gaps(volume: np.ndarray, step_mm: float) -> np.ndarray:
    """Fills what was not measured: short gaps between slabs by interpolation, the rest with air.

    A network takes a slab of air in the middle of a mass for the end of it. What is filled stays unseen all the same.

    Args:
        volume: Values, [slab y x], NaN where nothing was measured.
        step_mm: Distance between slabs in mm.

    Returns:
        A copy without NaN.
    """
    missing = np.isnan(volume)
    filled = np.where(missing, np.float32(-1024.0), volume)
    blend_planes(filled, np.asarray(missing.all(axis=(1, 2))), int(MAX_BRIDGE_MM / step_mm))
    return filled


def body_crop(inside: np.ndarray, patch: int, margin: int = BODY_MARGIN) -> tuple[slice, slice] | None:
    """Rows and columns around the body, in whole patches; None where there is no body.

    They are kept from the first to the last that holds a two-thousandth of the body.

    Args:
        inside: Mask of the body, bool [slab y x].
        patch: Pixels along an edge of a patch.
        margin: Number of pixels to keep around it, 0 or more.
    """
    cut = []
    for axis in (1, 2):
        count = inside.sum(axis=(0, 3 - axis))
        holds = np.flatnonzero(count > 0.0005 * count.sum())
        if not len(holds):
            return None
        first = max(0, int(holds[0]) - margin) // patch * patch
        last = min(len(count), -(-(int(holds[-1]) + 1 + margin) // patch) * patch)
        cut.append(slice(first, last))
    rows, columns = cut
    return rows, columns


def stack_channels(volume: torch.Tensor, spec: SlabSpec) -> torch.Tensor:
    """Windows and neighbours of a volume in HU, [..., slab y x] -> [..., slab channel y x].

    The first and last slab stand in for the neighbours that they lack.
    """
    n = volume.shape[-3]
    stacked = volume.new_empty((*volume.shape[:-2], spec.channels, *volume.shape[-2:]))
    offsets = range(-spec.neighbours, spec.neighbours + 1)
    for window, (low, high) in enumerate(spec.windows_hu):
        scaled = ((volume - low) / (high - low)).clamp_(0, 1)
        for number, offset in enumerate(offsets):
            channel = stacked[..., window * len(offsets) + number, :, :]
            first, last = min(max(0, -offset), n), max(min(n, n - offset), 0)
            channel[..., first:last, :, :] = scaled[..., first + offset : last + offset, :, :]
            channel[..., :first, :, :] = scaled[..., :1, :, :]
            channel[..., last:, :, :] = scaled[..., -1:, :, :]
    return stacked
