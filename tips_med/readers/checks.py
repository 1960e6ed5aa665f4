"""Requirements on every frame of a series; a frame that fails one is refused with its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tips_med.errors import ReadError
from tips_med.readers.headers import Frame
from tips_med.readers.layouts import PixelLayout

MAX_SIDE = 16384
"""Rows or columns beyond this are taken for a damaged header."""

MAX_SLICE_PIXELS = 1 << 26


def check_frame(frame: Frame, path: Path, modality: str) -> None:
    """Refuses a frame that cannot be placed in the patient or turned into values.

    Raises:
        ReadError: with a code for the first thing that is missing or wrong.
    """
    if frame.problems:
        raise ReadError(
            "; ".join(frame.problems[:3]),
            path=path,
            remedy="copy or export the file again, or move it out of the folder",
            code="damaged-file",
        )
    _check_layout(frame.layout, path)
    if frame.position_mm is None:
        raise ReadError(
            "Image Position (Patient) is missing, so the slice has no place in the patient",
            path=path,
            remedy="export the series again from its source",
            code="no-position",
        )
    _check_orientation(frame, path)
    spacing = frame.pixel_spacing_mm
    if spacing is None:
        raise ReadError(
            "Pixel Spacing is missing", path=path, remedy="export the series again", code="no-pixel-spacing"
        )
    if not all(1e-3 <= x <= 100 for x in spacing):
        raise ReadError(
            f"Pixel Spacing is {spacing[0]:g} x {spacing[1]:g}",
            path=path,
            expected="millimetres between 0.001 and 100",
            remedy="export the series again from its source",
            code="bad-pixel-spacing",
        )
    if not all(abs(x) <= 1e5 for x in frame.position_mm):
        raise ReadError(
            "Image Position (Patient) lies 100 m away",
            path=path,
            expected="millimetres",
            remedy="export the series again from its source",
            code="damaged-file",
        )
    _check_rescale(frame, path, modality)


def _check_orientation(frame: Frame, path: Path) -> None:
    if frame.orientation is None:
        raise ReadError(
            "Image Orientation (Patient) is missing, so left and right are unknown",
            path=path,
            remedy="export the series again from its source",
            code="no-orientation",
        )
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if any(abs(length - 1) > 5e-3 for length in lengths) or abs(row @ column) > 5e-3:
        raise ReadError(
            f"Image Orientation (Patient) is not two perpendicular unit vectors: {frame.orientation}",
            path=path,
            expected="direction cosines of a row and of a column",
            remedy="export the series again from its source",
            code="bad-orientation",
        )


def _check_layout(layout: PixelLayout | None, path: Path) -> None:
    if layout is None or layout.length == 0:
        raise ReadError(
            "has no pixels",
            path=path,
            expected="Pixel Data (7FE0,0010)",
            remedy="copy or export the file again",
            code="no-pixels",
        )
    if layout.samples != 1 or layout.photometric.upper() not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise ReadError(
            f"is a colour image ({layout.photometric}, {layout.samples} samples a pixel)",
            path=path,
            expected="MONOCHROME2",
            remedy="choose the series of the original slices",
            code="colour-image",
        )
    sides = layout.rows, layout.columns
    if not all(1 <= side <= MAX_SIDE for side in sides) or sides[0] * sides[1] > MAX_SLICE_PIXELS:
        raise ReadError(
            f"has {sides[0]} rows and {sides[1]} columns",
            path=path,
            expected=f"between 1 and {MAX_SIDE}",
            remedy="copy or export the file again, or move it out of the folder",
            code="damaged-file",
        )
    allocated, stored, high = layout.bits_allocated, layout.bits_stored, layout.high_bit
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise ReadError(
            f"has {allocated} bits allocated, {stored} stored, high bit {high}",
            path=path,
            expected="8, 16 or 32 bits allocated, and the others to fit",
            remedy="export the series again, uncompressed, with 16 bits allocated",
            code="bad-pixel-format",
        )
    if layout.native:
        _check_length(layout, path)
    elif layout.length >= 0:
        raise ReadError(
            "compressed pixels are not divided into fragments", path=path, code="damaged-file", remedy="export it again"
        )


def _check_length(layout: PixelLayout, path: Path) -> None:
    expected = layout.frame_bytes * layout.frames
    if layout.length < expected:
        raise ReadError(
            f"is cut short: {max(layout.length, 0)} bytes of pixels",
            path=path,
            expected=f"{expected} bytes",
            remedy="copy the file again from its source",
            code="truncated-file",
        )
    # PS3.5 8.1.1 lets pixel data be followed by padding; what is longer than a row may be another geometry.
    if layout.length - expected >= max(2, layout.columns * layout.samples * layout.bits_allocated // 8):
        raise ReadError(
            f"holds {layout.length} bytes of pixels, which does not fit {layout.rows} rows, {layout.columns} columns, "
            f"{layout.frames} frame(s) and {layout.bits_allocated} bits",
            path=path,
            expected=f"{expected} bytes",
            remedy="copy or export the file again",
            code="pixel-length",
        )


def _check_rescale(frame: Frame, path: Path, modality: str) -> None:
    if frame.has_modality_lut:
        raise ReadError(
            "values go through a Modality LUT, which is not supported",
            path=path,
            expected="Rescale Slope and Intercept",
            remedy="export the series with a rescaling instead of a table",
            code="modality-lut",
        )
    slope = frame.slope
    if slope is not None and (slope == 0 or abs(slope) > 1e9):
        raise ReadError(
            f"Rescale Slope is {slope:g}",
            path=path,
            expected="a slope other than 0",
            remedy="export the series again from its source",
            code="bad-rescale",
        )
    if frame.intercept is not None and abs(frame.intercept) > 1e9:
        raise ReadError(
            f"Rescale Intercept is {frame.intercept:g}",
            path=path,
            expected="an intercept in the unit of the values",
            remedy="export the series again from its source",
            code="bad-rescale",
        )
    if modality == "PT" and slope is None:
        raise ReadError(
            "Rescale Slope is missing, so the activity is unknown",
            path=path,
            remedy="export the series again from its source",
            code="no-rescale",
        )


def check_frames(frames: Sequence[Frame], path: Path, modality: str) -> None:
    """``check_frame`` for every frame, and the rules that hold across them.

    Raises:
        ReadError: also ``mixed-rescale``, when some slices state their rescaling or its unit and others do not.
    """
    for frame in frames:
        check_frame(frame, frame.path or path, modality)
    # Unspecified (PS3.3 C.11.1.1.2: US, or nothing) does not disagree with a slice that states the unit of a CT.
    types = {f.rescale_type.strip().upper() for f in frames} - ({"", "US"} if modality == "CT" else set())
    if len({(f.slope is None, f.intercept is None) for f in frames}) > 1 or len(types) > 1:
        raise ReadError(
            "slices of one volume disagree on whether or to which unit their values are rescaled",
            path=path,
            expected="one rule for all",
            remedy="export the series again from its source",
            code="mixed-rescale",
        )
