"""Weak signals of reports, brought into the patient: cited slices, sides, organs; and how they travel in a batch.

A row's signals go this way: images by number -> slices of the scan, as slabs of space in LPS (``place_cited``) ->
kept with the prepared study -> the cells of a crop that lie in them (``cells_in``) -> ``SignalBatch`` -> the loss terms
of ``tips_med.training.weak_losses``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tips_med.lexicon import Side
from tips_med.scan import Scan
from tips_med.shapes import Affine

REGION_MARGIN_MM = 6.0
"""How far beyond a region's mask a finding may reach: masks of organs leave out what lies at their edge."""

MIDLINE_MARGIN_MM = 10.0
"""How far a finding of one side may reach over the middle of the body: hearts and mediastina lie across it."""


class SliceSpace(NamedTuple):
    """The space between two parallel planes that a slice shows: low_mm <= normal . point <= high_mm, in LPS."""

    x: float
    y: float
    z: float
    low_mm: float
    high_mm: float

    def mirrored(self, middle_x_mm: float) -> SliceSpace:
        """The same slice after left and right were exchanged about a plane x = middle_x_mm."""
        shift = 2 * self.x * middle_x_mm
        return SliceSpace(-self.x, self.y, self.z, self.low_mm - shift, self.high_mm - shift)


def place_cited(scan: Scan, series: int | None, images: Sequence[int]) -> tuple[tuple[SliceSpace, ...], str]:
    """Where cited images lie.

    Numbers are what a viewer shows: Instance Numbers, or numbers of frames where a series is one multi-frame file.
    A NIfTI file has neither, and its order of slices is often that of the scanner turned around; so its cited images
    are not placed.

    Args:
        scan: Scan of any orientation.
        series: Series Number that is cited; None when none is.
        images: Instance Numbers that are cited.

    Returns:
        The slices, each once; and why some or all were not placed, as a code: ``no-instance-numbers``,
        ``other-series``, ``no-such-image``, or empty.
    """
    if not images:
        return (), ""
    source = scan.provenance
    numbers = source.frame_numbers or source.instance_numbers
    if not any(numbers):
        return (), "no-instance-numbers"
    if series is not None and series != source.series_number:
        return (), "other-series"
    affine = scan.lps_from_kji
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    half = abs(float(normal @ affine[:3, 0])) / 2
    wanted = set(images)
    found = []
    for k, number in enumerate(numbers):
        if number in wanted:
            at = float(normal @ (affine[:3, 3] + k * affine[:3, 0]))
            found.append(SliceSpace(float(normal[0]), float(normal[1]), float(normal[2]), at - half, at + half))
    return tuple(found), "" if wanted <= set(numbers) else "no-such-image"


def cells_in(
    slices: Sequence[SliceSpace], lps_from_pixel: Affine, shape: tuple[int, int, int], tolerance_mm: float
) -> np.ndarray:
    """Cells of a grid whose centres lie in slices, or within a tolerance of them along their normal.

    Args:
        slices: Slices in LPS.
        lps_from_pixel: Maps (slab, y, x, 1) to LPS in mm.
        shape: Shape of the grid.
        tolerance_mm: How far off a citation may be, 0 or more.

    Returns:
        bool [slab y x].
    """
    inside = np.zeros(shape, bool)
    for one in slices:
        step = np.array(one[:3]) @ lps_from_pixel[:3]
        s, y, x = (step[axis] * np.arange(n) for axis, n in enumerate(shape))
        along = s[:, None, None] + y[:, None] + x + step[3]
        inside |= (along >= one.low_mm - tolerance_mm) & (along <= one.high_mm + tolerance_mm)
    return inside


def cells_of_side(side: Side | None, x_mm: np.ndarray) -> np.ndarray:
    """Columns that may hold a finding of a side: that half of the body, and a margin beyond its middle.

    Args:
        side: ``left`` or ``right`` of the patient; everything otherwise.
        x_mm: Position from the middle of the body to the patient's left, [x].

    Returns:
        bool [x].
    """
    if side == "left":
        return x_mm > -MIDLINE_MARGIN_MM
    return x_mm < MIDLINE_MARGIN_MM if side == "right" else np.ones(len(x_mm), bool)


@dataclass(frozen=True, eq=False)
class PhraseSignals:
    """What a report says of one phrase of a crop beside that it is there.

    Attributes:
        cited: Cells of the cited slices, bool [slab y x]; None where none is cited.
        inside: Cells that may hold it, by organ and side, bool [slab y x]; None where nothing is said.
        outside: Cells that do not hold it, bool [slab y x]; None where nothing is said.
        size_mm: Long axis; NaN where none is stated.
        count: How many there are; 0 where nothing is said.
        both: Whether it is on both sides.
        peaks: Whether the highest place is in the cited slices, as far as is known; False where another one, elsewhere,
            fits the phrase as well.
    """

    cited: np.ndarray | None = None
    inside: np.ndarray | None = None
    outside: np.ndarray | None = None
    size_mm: float = float("nan")
    count: int = 0
    both: bool = False
    peaks: bool = True

    def __bool__(self) -> bool:
        parts = (self.cited, self.inside, self.outside)
        return any(part is not None for part in parts) or self.size_mm > 0 or self.count > 0 or self.both


NOTHING_SAID = PhraseSignals()
"""The signals of a phrase of which no report says anything."""


@dataclass(eq=False)
class SignalBatch:
    """The signals of all phrases of a batch.

    Attributes:
        cited: Cells of the cited slices, bool [crop phrase slab y x]; none where none is cited.
        inside: Cells that may hold the phrase, the same shape; all where nothing is said.
        outside: Cells that do not hold it, the same shape; none where nothing is said.
        size_mm: Long axis, [crop phrase]; NaN where none is stated.
        count: How many there are, [crop phrase]; 0 where nothing is said.
        both: Whether it is on both sides, bool [crop phrase].
        peaks: Whether the highest place is in the cited slices, bool [crop phrase].
        x_mm: Position of every column from the middle of the body, to the patient's left, [crop x].
        spacing_mm: Spacing in mm: between slabs, rows and columns, [3].
    """

    cited: Tensor
    inside: Tensor
    outside: Tensor
    size_mm: Tensor
    count: Tensor
    both: Tensor
    peaks: Tensor
    x_mm: Tensor
    spacing_mm: Tensor


def collate_signals(
    phrases: Sequence[Sequence[PhraseSignals]],
    shape: tuple[int, int, int],
    first_x_mm: Sequence[float],
    spacing_mm: tuple[float, float, float],
) -> SignalBatch | None:
    """Puts the signals of crops together; None where there are none.

    Args:
        phrases: Signals of the phrases of every crop, equally many each.
        shape: Shape of the crops.
        first_x_mm: Position of the first column of every crop from the middle of the body.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
    """
    if not any(one for crop in phrases for one in crop):
        return None

    def cells(name: str, missing: bool) -> Tensor:
        made = torch.full((len(phrases), len(phrases[0]), *shape), missing)
        for row, crop in enumerate(phrases):
            for column, one in enumerate(crop):
                if (part := getattr(one, name)) is not None:
                    made[row, column] = torch.from_numpy(part)
        return made

    def numbers(name: str, kind: torch.dtype) -> Tensor:
        return torch.tensor([[getattr(one, name) for one in crop] for crop in phrases], dtype=kind)

    return SignalBatch(
        cells("cited", False),
        cells("inside", True),
        cells("outside", False),
        numbers("size_mm", torch.float32),
        numbers("count", torch.int64),
        numbers("both", torch.bool),
        numbers("peaks", torch.bool),
        torch.tensor(first_x_mm, dtype=torch.float32)[:, None] + spacing_mm[2] * torch.arange(shape[2]),
        torch.tensor(spacing_mm, dtype=torch.float32),
    )
