"""A DICOM series to a ``Scan``."""

from __future__ import annotations

import numpy as np

from tips_med.notes import Note
from tips_med.readers.catalog import Catalog, Series, pick_series
from tips_med.readers.checks import check_frames
from tips_med.readers.pixels import PixelReader, fill_values
from tips_med.readers.stacking import Stack, build_stack
from tips_med.readers.straighten import straighten
from tips_med.readers.values import check_values, clear_undeclared_padding, unit_of
from tips_med.readers.volumes import pick_volume, split_volumes
from tips_med.scan import Provenance, Scan


def read_catalog(catalog: Catalog, *, series: str | None, phase: int | None, fill_gaps: bool, untilt: bool) -> Scan:
    """The one volume that the choices leave.

    Raises:
        ReadError: see ``pick_series``, ``pick_volume``, ``check_frames``, ``build_stack`` and ``check_values``.
    """
    chosen, notes = pick_series(catalog, series)
    with PixelReader() as reader:
        stack, more = plan_reading(chosen, reader, phase=phase, fill_gaps=fill_gaps, untilt=untilt)
        voxels = _read_voxels(stack, reader)
    affine = stack.lps_from_kji
    unit = unit_of(chosen.modality, stack.first)
    notes += [*more, *stack.notes, *clear_undeclared_padding(voxels, chosen.modality, unit)]
    if stack.tilt_deg:
        voxels, affine = straighten(voxels, affine)
        notes.append(f"Straightened: the slices were tilted by {stack.tilt_deg:.3g} degrees.")
    notes += check_values(voxels, chosen.modality, unit, stack.first, chosen.folder)
    return Scan(voxels, affine, chosen.modality, unit, _provenance(chosen, stack, notes))


def plan_reading(
    chosen: Series, reader: PixelReader, *, phase: int | None, fill_gaps: bool, untilt: bool
) -> tuple[Stack, list[str]]:
    """The stack of slices that would be read, pixels not yet read, and notes."""
    volumes, notes = split_volumes(chosen.frames)
    volume = pick_volume(volumes, phase, chosen.folder)
    check_frames(volume.frames, chosen.folder, chosen.modality)
    stack = build_stack(list(volume.frames), pixel_hash=reader.digest, fill_gaps=fill_gaps, untilt=untilt)
    if phase is not None and volume.label:
        values = {"phase": phase, "count": len(volumes), "label": volume.label}
        notes.append(Note("Volume {phase} of {count} in the series: {label}.", code="one-of-several", **values))
    return stack, notes


def _read_voxels(stack: Stack, reader: PixelReader) -> np.ndarray:
    voxels = np.empty(stack.shape, np.float32)
    for k, frame in enumerate(stack.frames):
        if frame is None:
            voxels[k] = np.nan
        else:
            fill_values(frame, reader.stored(frame), voxels[k])
    return voxels


def _provenance(chosen: Series, stack: Stack, notes: list[str]) -> Provenance:
    head = chosen.head
    numbers = tuple(0 if frame is None else frame.number for frame in stack.frames)
    return Provenance(
        format="dicom",
        study_uid=head.study_uid or None,
        series_uid=chosen.uid,
        frame_of_reference_uid=dict(stack.first.stack).get("FrameOfReferenceUID"),
        sop_class_uid=head.sop_class_uid,
        instance_uids=tuple("" if frame is None else frame.sop_uid for frame in stack.frames),
        frame_numbers=numbers if any(numbers) else (),
        series_number=int(head.series_number) if head.series_number.lstrip("-").isdecimal() else None,
        instance_numbers=tuple(int(frame.instance_number or 0) if frame else 0 for frame in stack.frames),
        notes=tuple(notes),
        study_year=head.study_year,
    )
