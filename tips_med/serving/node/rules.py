"""Rules: which queries for which series."""

from __future__ import annotations

import fnmatch
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

logger = logging.getLogger(__name__)

_TAGS = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "SliceThickness",
    "NumberOfFrames",
)


@dataclass(frozen=True)
class SeriesFacts:
    """The attributes of a series that rules use."""

    series_uid: str
    modality: str
    body_part: str
    description: str
    thickness_mm: float | None
    images: int


@dataclass(frozen=True)
class Rule:
    """Queries for matching series; a condition that is left out matches anything.

    Attributes:
        queries: Queries in words.
        modality: Modality: ``CT``, ``MR`` or ``PT``.
        body_part: Body Part Examined (0018,0015), with ``*`` and ``?``; case does not matter.
        description: Series Description (0008,103E), with ``*`` and ``?``; case does not matter.
        max_thickness_mm: Maximum slice thickness in mm; a series that does not state it never matches.
        min_images: Minimum number of images.
    """

    queries: list[str]
    modality: str | None = None
    body_part: str | None = None
    description: str | None = None
    max_thickness_mm: float | None = None
    min_images: int = 2

    def fits(self, series: SeriesFacts) -> bool:
        """Whether a series matches."""
        if self.modality is not None and series.modality != self.modality:
            return False
        for pattern, text in ((self.body_part, series.body_part), (self.description, series.description)):
            if pattern is not None and not fnmatch.fnmatchcase(text.lower(), pattern.lower()):
                return False
        if self.max_thickness_mm is not None and not (0 < (series.thickness_mm or 0) <= self.max_thickness_mm + 1e-3):
            return False
        return series.images >= self.min_images


def plan_queries(rules: Sequence[Rule], series: Sequence[SeriesFacts]) -> list[tuple[str, list[str]]]:
    """Series Instance UIDs with the queries of all rules that fit, each query once."""
    planned = []
    for one in series:
        queries = list(dict.fromkeys(query for rule in rules if rule.fits(one) for query in rule.queries))
        if queries:
            planned.append((one.series_uid, queries))
    return planned


def series_in(folder: Path) -> list[SeriesFacts]:
    """The series of a folder of received files; a file that cannot be parsed is passed over."""
    found: dict[str, SeriesFacts] = {}
    for file in sorted(folder.iterdir()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
                uid = str(header.SeriesInstanceUID)
                images = int(header.get("NumberOfFrames") or 1)
                thickness = header.get("SliceThickness")
                facts = SeriesFacts(
                    uid,
                    str(header.get("Modality", "")),
                    str(header.get("BodyPartExamined", "")),
                    str(header.get("SeriesDescription", "")),
                    float(thickness) if thickness else None,
                    images + (found[uid].images if uid in found else 0),
                )
        except Exception as error:  # pydicom raises whatever damaged bytes lead it to
            logger.warning("a received file cannot be parsed (%s)", type(error).__name__)
            continue
        found[uid] = facts
    return list(found.values())
