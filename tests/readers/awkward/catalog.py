"""Every case, by group."""

from __future__ import annotations

from tests.readers.awkward import (
    file_cases,
    geometry_cases,
    image_cases,
    multiframe_cases,
    reported_cases,
    series_cases,
    syntax_cases,
    value_cases,
)
from tests.readers.awkward.case import Case

GROUPS: dict[str, list[Case]] = {
    "Geometry": geometry_cases.CASES,
    "Several volumes, or none": series_cases.CASES,
    "Values": value_cases.CASES,
    "Files, archives, media": file_cases.CASES,
    "Transfer syntaxes": syntax_cases.CASES,
    "Multi-frame": multiframe_cases.CASES,
    "NIfTI, NRRD, MetaImage": image_cases.CASES,
    "Reported by users of other software": reported_cases.CASES,
}
CASES = [case for cases in GROUPS.values() for case in cases]
