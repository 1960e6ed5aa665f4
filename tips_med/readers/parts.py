"""Names of the structures in a DICOM RTSTRUCT or SEG, as the column ``part`` of a manifest takes them."""

from __future__ import annotations

from pathlib import Path

import pydicom

from tips_med.readers.bounded import BoundedFile

_TAGS = ["StructureSetROISequence", "SegmentSequence"]


def part_names(path: Path) -> tuple[str, ...]:
    """Names of ROIs (3006,0026), or numbers and labels of segments (0062,0004) and (0062,0005).

    Args:
        path: Path of a DICOM file.

    Returns:
        The names; none of a file that holds neither, or is damaged.
    """
    try:
        with BoundedFile(path) as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
        names = [str(roi.get("ROIName", "")) for roi in header.get("StructureSetROISequence", [])]
        segments = header.get("SegmentSequence", [])
        return (*names, *(f"{one.get('SegmentNumber', '?')} ({one.get('SegmentLabel', '')})" for one in segments))
    except Exception:  # a damaged file raises anything; it is told elsewhere
        return ()
