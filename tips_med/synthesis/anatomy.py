"""Anatomies to paint into: scans on the working grid, with what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from tips_med.body import find_body
from tips_med.folders import whole_file
from tips_med.geometry import LEFT, RIGHT
from tips_med.resampling import resample
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec, working_grid

"""Labels of the lungs, and of the sides of a body everywhere in this package."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A body on the working grid.

    Attributes:
        name: Name of the anatomy, for logs and manifests.
        volume_hu: Hounsfield units, int16 [slab y x]; -1024 where nothing was measured.
        lungs: Label map of the lungs, 1 right, 2 left, 0 elsewhere, [slab y x]; None without labels.
        lesions: Label map of the outlined real lesions, numbered from 1, [slab y x].
        lesion_mm: Long axis of each lesion in mm.
        ignored: Mask of possible lesions without an outline or with disagreeing readers: not trained on.
        spacing_mm: Spacing in mm: between slabs, rows and columns.
        organs: Labels of ``tips_med.synthesis.organs``, [slab y x]; None without labels.
    """

    name: str
    volume_hu: np.ndarray
    lungs: np.ndarray | None
    lesions: np.ndarray
    lesion_mm: tuple[float, ...]
    ignored: np.ndarray
    spacing_mm: tuple[float, float, float]
    organs: np.ndarray | None = None

    @cached_property
    def middle_yx(self) -> tuple[float, float]:
        """The middle of the body in pixels, found as in a queried scan."""
        y_mm, x_mm = find_body(self.volume_hu, np.ones(self.volume_hu.shape, bool), self.spacing_mm).middle_mm
        return y_mm / self.spacing_mm[1], x_mm / self.spacing_mm[2]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything but the name, as arrays for a safetensors file."""
        arrays = {"volume_hu": self.volume_hu, "lesions": self.lesions, "ignored": self.ignored.astype(np.uint8)}
        arrays["spacing_mm"] = np.array(self.spacing_mm)
        arrays["lesion_mm"] = np.array(self.lesion_mm, np.float64)
        if self.lungs is not None:
            arrays["lungs"] = self.lungs
        if self.organs is not None:
            arrays["organs"] = self.organs
        return {key: np.ascontiguousarray(value) for key, value in arrays.items()}

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, np.ndarray]) -> Anatomy:
        """Takes what ``to_arrays`` gave."""
        row, column, depth = (float(s) for s in arrays["spacing_mm"])
        return cls(
            name,
            arrays["volume_hu"],
            arrays.get("lungs"),
            arrays["lesions"],
            tuple(float(mm) for mm in arrays["lesion_mm"]),
            arrays["ignored"].astype(bool),
            (row, column, depth),
            arrays.get("organs"),
        )

    def save(self, path: Path) -> None:
        """Writes everything as one safetensors file."""
        with whole_file(path) as partial:
            save_file(self.to_arrays(), partial, {"name": self.name})

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        """Reads what ``save`` wrote."""
        return cls.from_arrays(path.stem, load_file(path))


def make_anatomy(
    name: str,
    scan: Scan,
    spec: SlabSpec,
    lungs: np.ndarray | None = None,
    lesions: np.ndarray | None = None,
    disputed: np.ndarray | None = None,
    organs: np.ndarray | None = None,
) -> Anatomy:
    """Brings a scan and its labels onto the working grid.

    Args:
        name: Name of the anatomy, for logs and manifests.
        scan: Scan; labels are on its grid, [k j i].
        spec: Specification of slabs, whose spacing is used.
        lungs: Label map of the lungs, 1 right, 2 left.
        lesions: Mask of outlined real lesions.
        disputed: Mask of possible lesions.
        organs: Labels of ``tips_med.synthesis.organs``.
    """
    affine, shape = working_grid(scan, spec)
    volume = resample(scan.voxels, scan.lps_from_kji, affine, shape)

    def carry(mask: np.ndarray) -> np.ndarray:
        # Interpolated and cut at a half: smoother than nearest neighbour where the scan's slices are thick.
        return np.nan_to_num(resample(mask.astype(np.float32), scan.lps_from_kji, affine, shape)) >= 0.5

    grid_lungs = None
    if lungs is not None:
        grid_lungs = np.where(carry(lungs == LEFT), LEFT, np.where(carry(lungs == RIGHT), RIGHT, 0)).astype(np.uint8)
    outlined = carry(lesions) if lesions is not None else np.zeros(shape, bool)
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(outlined, np.ones((3, 3, 3))))
    maybe = carry(disputed) if disputed is not None else np.zeros(shape, bool)
    sizes = tuple(_long_axis_mm(labels == n, spec.spacing_mm) for n in range(1, count + 1))
    return Anatomy(
        name,
        np.nan_to_num(volume, nan=-1024).clip(-1024, 3071).astype(np.int16),
        grid_lungs,
        labels.astype(np.uint8),
        sizes,
        maybe & ~outlined,
        spec.spacing_mm,
        None if organs is None else resample(organs.astype(np.uint8), scan.lps_from_kji, affine, shape, linear=False),
    )


def _long_axis_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """The longest distance within one slab, between pixel centres plus one pixel."""
    longest = 0.0
    for plane in mask:
        points = np.argwhere(plane) * np.asarray(spacing_mm[1:])
        if len(points) > 1:
            longest = max(longest, float(np.linalg.norm(points[:, None] - points, axis=-1).max()))
    return longest + spacing_mm[2]
