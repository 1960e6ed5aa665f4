"""Small studies, an archive in memory, and an answerer that needs no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests.readers.awkward.writing import ROOT, make_series
from tips_med.serving.archive import Archive, ArchiveError
from tips_med.serving.dimse import SYNTAXES
from tips_med.serving.node.rules import Rule

MARKER = "Planted^Marker"
RULES = [Rule(queries=["nodule"], modality="CT", min_images=2)]


def study(number: int, slices: int = 3, **elements: object) -> list[Dataset]:
    """A study of one series."""
    made = []
    for n, item in enumerate(make_series(slices=slices)):
        item.set(
            StudyInstanceUID=f"{ROOT}.9.{number}",
            SeriesInstanceUID=f"{ROOT}.9.{number}.1",
            SOPInstanceUID=f"{ROOT}.9.{number}.1.{n + 1}",
            PatientName=MARKER,
            PatientID="PLANTED-ID",
            SeriesDescription=f"series of {MARKER}",
            **elements,
        )
        item.dataset.file_meta = pydicom.dataset.FileMetaDataset()
        item.dataset.file_meta.TransferSyntaxUID = SYNTAXES[0]
        item.dataset.file_meta.MediaStorageSOPClassUID = item.dataset.SOPClassUID
        item.dataset.file_meta.MediaStorageSOPInstanceUID = item.dataset.SOPInstanceUID
        made.append(item.dataset)
    return made


def answer_simply(images: Path, series_uid: str, queries: Sequence[str], out: Path) -> None:
    """A report that is no more than a header of its own: what the node does with results does not look inside."""
    first = pydicom.dcmread(min(images.glob("*.dcm")))
    first.SOPInstanceUID = pydicom.uid.generate_uid()
    first.SeriesInstanceUID = pydicom.uid.generate_uid()
    first.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    first.save_as(out / "sr.dcm", enforce_file_format=True)


class MemoryArchive(Archive):
    """Keeps what it is sent; ``failing`` is raised instead while it is set, ``cut_off`` after storing."""

    address = "memory"

    def __init__(self) -> None:
        self.stored: list[tuple[str, str, str]] = []
        self.failing: Exception | None = None
        self.cut_off: BaseException | None = None

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        if self.failing:
            raise self.failing
        return [sop for one, series, sop in self.stored if one == study_uid and series_uid in (None, series)]

    def retrieve(self, study_uid: str, series_uid: str | None = None) -> Iterator[Dataset]:
        raise NotImplementedError

    def store(self, files: Sequence[Path]) -> None:
        if self.failing:
            raise self.failing
        for file in files:
            header = pydicom.dcmread(file)
            self.stored.append((header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID))
        if self.cut_off:
            error, self.cut_off = self.cut_off, None
            raise error


DOWN = ArchiveError("is down", code="unreachable")
REFUSES = ArchiveError("refuses", code="refused")
