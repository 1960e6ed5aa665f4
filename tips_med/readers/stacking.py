"""From the frames of a series to one stack of slices in the patient, or a named refusal.

Only geometry that the standard defines is used: Image Position, Image Orientation and Pixel Spacing (PS3.3 C.7.6.2).
Instance numbers, slice locations, file names and Patient Position are never trusted. Slices are ordered along
cross(row direction, column direction), so that (i, j, k) is right-handed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tips_med.errors import ReadError
from tips_med.readers.headers import Frame
from tips_med.shapes import Affine

ORIENTATION_TOLERANCE = 5e-4
"""Direction cosines of one stack may differ by this (0.03 degrees): writers round them."""

TILT_TOLERANCE_DEG = 0.1
"""A stack that leans by more than this against its normal is refused as tilted."""

IN_PLANE_TOLERANCE_MM = 0.1
"""How far a slice may lie beside the straight line through the slices' origins."""

MAX_GAP_FRACTION = 0.5
"""Maximum share of filled slices in a stack with filled gaps."""


@dataclass(frozen=True)
class Stack:
    """Slices in order.

    Attributes:
        frames: Frame of every slice k; None for a gap that is to be filled.
        lps_from_kji: Maps (k, j, i, 1) to LPS in mm; sheared when ``tilt_deg`` is not 0.
        tilt_deg: Tilt of the stack against its normal in degrees, to be straightened; 0 when it need not be.
        notes: Notes on what was recovered, and other remarks.
    """

    frames: tuple[Frame | None, ...]
    lps_from_kji: Affine
    tilt_deg: float
    notes: tuple[str, ...]

    @property
    def first(self) -> Frame:
        """The first slice that exists."""
        return next(frame for frame in self.frames if frame is not None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        layout = self.first.pixels
        return len(self.frames), layout.rows, layout.columns


def build_stack(
    frames: list[Frame],
    *,
    pixel_hash: Callable[[Frame], bytes],
    fill_gaps: bool = False,
    untilt: bool = False,
) -> Stack:
    """Orders the frames of one volume, and refuses what cannot be placed without guessing.

    Args:
        frames: Frames of one volume: of one shape, spacing and orientation (see ``volumes.split_volumes``).
        pixel_hash: Function that returns a digest of a frame's pixels; called only for frames at one position.
        fill_gaps: Put empty (NaN) slices where slices are missing.
        untilt: Let a tilted stack through, to be straightened.

    Raises:
        ReadError: ``duplicate-position``, ``single-slice``, ``missing-slice``, ``non-uniform-spacing``,
            ``shifted-slices``, ``gantry-tilt``.
    """
    row, column, normal = directions(frames[0])
    frames, along_mm, notes = _without_copies(frames, normal, pixel_hash)
    spacing = frames[0].pixel_spacing_mm
    if spacing is None:
        raise ReadError(
            "Pixel Spacing is missing", path=frames[0].path, remedy="export the series again", code="no-pixel-spacing"
        )
    origin = np.array(frames[0].position_mm)
    if len(frames) == 1:
        step, slots = normal * _single_thickness(frames[0], notes), [0]
        tilt = 0.0
    else:
        step_mm, slots = _slots(along_mm, frames, fill_gaps, notes)
        step, tilt = _step(frames, np.array(slots), step_mm, normal, untilt)
    filled: list[Frame | None] = [None] * (slots[-1] + 1)
    for slot, frame in zip(slots, frames, strict=True):
        filled[slot] = frame
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = step, column * spacing[0], row * spacing[1], origin
    _note_thickness(frames, float(np.linalg.norm(step)), notes)
    stated = frames[0].tilt_deg
    if len({frame.sop_uid for frame in frames if frame.number == 0}) < sum(frame.number == 0 for frame in frames):
        notes.append("Several slices share one SOP Instance UID, so results cannot refer to them one by one.")
    if stated and abs(stated) > TILT_TOLERANCE_DEG and not tilt and len(frames) > 1:
        notes.append(f"Gantry/Detector Tilt is {stated:g} degrees, but the slices are stacked along their normal.")
    return Stack(tuple(filled), affine, tilt, tuple(notes))


def directions(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row (i), along a column (j) and along the normal (k), in LPS."""
    cosines = np.array(frame.orientation, dtype=np.float64)
    row = cosines[:3] / np.linalg.norm(cosines[:3])
    column = cosines[3:] - row * (cosines[3:] @ row)
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _without_copies(
    frames: list[Frame], normal: np.ndarray, pixel_hash: Callable[[Frame], bytes]
) -> tuple[list[Frame], np.ndarray, list[str]]:
    """Frames sorted along the normal, true copies of a slice dropped."""
    positions = np.array([frame.position_mm for frame in frames], dtype=np.float64)
    along = positions @ normal
    order = sorted(range(len(frames)), key=lambda n: (along[n], frames[n].instance_number or 0, frames[n].sop_uid))
    kept: list[int] = []
    copies = 0
    for n in order:
        if kept and np.linalg.norm(positions[n] - positions[kept[-1]]) < 0.01:
            twin = frames[kept[-1]]
            if _values_rule(twin) != _values_rule(frames[n]) or pixel_hash(twin) != pixel_hash(frames[n]):
                place = ", ".join(f"{x:g}" for x in positions[n])
                raise ReadError(
                    f"two slices with different pixels lie at the same position ({place}): "
                    f"{_name(twin)} and {_name(frames[n])}",
                    path=frames[n].path,
                    expected="one slice at a position",
                    remedy="remove the one that does not belong to the series",
                    code="duplicate-position",
                )
            copies += 1
            continue
        kept.append(n)
    notes = []
    if copies:
        notes.append(f"{copies} {'copies' if copies > 1 else 'copy'} of slices that are there already dropped.")
    return [frames[n] for n in kept], along[kept], notes


def _values_rule(frame: Frame) -> tuple[object, ...]:
    layout = frame.layout
    return (frame.slope, frame.intercept, frame.padding, layout.signed if layout else None)


def _name(frame: Frame) -> str:
    name = frame.path.name if frame.path is not None else "?"
    return f"{name} frame {frame.number}" if frame.number else name


def _single_thickness(frame: Frame, notes: list[str]) -> float:
    if not frame.thickness_mm or frame.thickness_mm <= 0:
        raise ReadError(
            "the series has a single slice and no Slice Thickness, so its extent is unknown",
            path=frame.path,
            expected="two slices or more",
            remedy="name the folder of the whole series",
            code="single-slice",
        )
    notes.append(f"A single slice: its Slice Thickness of {frame.thickness_mm:g} mm is taken as the spacing.")
    return frame.thickness_mm


def position_tolerance_mm(step_mm: float) -> float:
    """How far a slice may lie from its place: what writers' rounding explains, and never a tenth of the spacing."""
    return min(0.1 * step_mm, max(0.051, min(0.05 * step_mm, 0.1)))


def _off_line(along_mm: np.ndarray, number: np.ndarray) -> float:
    """How far the slices lie from equal distances, at most: from the line that fits all of them best."""
    line = np.polynomial.Polynomial.fit(number, along_mm, 1)
    return float(np.abs(along_mm - line(number)).max())


def _rounding_mm(along_mm: np.ndarray, step_mm: float) -> float:
    """What rounding to a tenth of a millimetre explains, where all positions are rounded so."""
    rounded = np.abs(along_mm - np.round(along_mm, 1)).max() < 1e-4
    return 0.06 if rounded and step_mm >= 0.2 else 0.0


def _slots(along_mm: np.ndarray, frames: list[Frame], fill: bool, notes: list[str]) -> tuple[float, list[int]]:
    """The spacing along the normal and the slice number of every frame."""
    gaps = np.diff(along_mm)
    step = float(along_mm[-1] - along_mm[0]) / len(gaps)
    number = np.arange(len(along_mm))
    if _off_line(along_mm, number) <= max(position_tolerance_mm(step), _rounding_mm(along_mm, step)):
        if np.abs(along_mm - along_mm[0] - step * number).max() > position_tolerance_mm(step):
            notes.append(f"Positions are rounded; the slices lie {step:.4g} mm apart on average.")
        return step, number.tolist()
    base = float(np.median(gaps[gaps <= gaps.min() * 1.2]))
    slots = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(gaps / base)))]).astype(int)
    refined = float(along_mm[-1] - along_mm[0]) / slots[-1]
    residual = np.abs(along_mm - along_mm[0] - refined * slots).max()
    common = np.mean(np.rint(gaps / base) == 1)
    if residual > position_tolerance_mm(refined) or common <= 0.5:
        raise ReadError(
            f"the distance between slices changes along the series (from {gaps.min():.3g} to {gaps.max():.3g} mm)",
            path=_folder(frames),
            expected="slices at equal distances",
            remedy="read a reconstruction with equal distances",
            code="non-uniform-spacing",
        )
    missing = sorted(set(range(slots[-1] + 1)) - set(slots.tolist()))
    where = ", ".join(str(k + 1) for k in missing[:8]) + (", ..." if len(missing) > 8 else "")
    found = f"{len(missing)} of {slots[-1] + 1} slices missing (number {where} from the first, {refined:.4g} mm apart)"
    if len(missing) > MAX_GAP_FRACTION * (slots[-1] + 1):
        raise ReadError(found, path=_folder(frames), remedy="export the series again", code="missing-slice")
    if not fill:
        raise ReadError(
            found,
            path=_folder(frames),
            remedy="export the series again, or leave the gaps empty (NaN) with --fill-gaps (fill_gaps=True)",
            code="missing-slice",
        )
    notes.append(f"{found[0].upper()}{found[1:]}: left empty (NaN).")
    return refined, slots.tolist()


def _step(
    frames: list[Frame], slots: np.ndarray, step_mm: float, normal: np.ndarray, untilt: bool
) -> tuple[np.ndarray, float]:
    """The vector from a slice to the next, and the tilt in degrees that is left to straighten."""
    positions = np.array([frame.position_mm for frame in frames], dtype=np.float64)
    step = (positions[-1] - positions[0]) / slots[-1]
    beside = positions - positions[0] - slots[:, None] * step
    beside -= (beside @ normal)[:, None] * normal
    if (worst := float(np.linalg.norm(beside, axis=1).max())) > IN_PLANE_TOLERANCE_MM:
        raise ReadError(
            f"slices are shifted against each other within their plane, by up to {worst:.3g} mm",
            path=_folder(frames),
            expected="slices stacked along a straight line",
            remedy="export the series again, or read another reconstruction",
            code="shifted-slices",
        )
    lean = step - (step @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(lean), step_mm)))
    if tilt <= TILT_TOLERANCE_DEG or np.linalg.norm(lean) * slots[-1] <= 0.05:
        return normal * step_mm + lean, 0.0
    if not untilt:
        raise ReadError(
            f"the slices are tilted by {tilt:.3g} degrees against the direction they are stacked in (gantry tilt)",
            path=_folder(frames),
            remedy="resample to an orthogonal grid with --untilt (untilt=True)",
            code="gantry-tilt",
        )
    return step, tilt


def _folder(frames: list[Frame]) -> Path | None:
    path = frames[0].path
    return path.parent if path is not None and frames[0].number == 0 else path


def _note_thickness(frames: list[Frame], step_mm: float, notes: list[str]) -> None:
    thickness = frames[0].thickness_mm
    if thickness and thickness > 0 and len(frames) > 1 and step_mm > 1.5 * thickness:
        notes.append(
            f"Slices of {thickness:g} mm lie {step_mm:.4g} mm apart: the tissue between them was not measured."
        )
