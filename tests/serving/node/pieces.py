"""Small studies, an archive in memory, and an answerer that needs no model."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from tests.readers.awkward.writing import ROOT, make_series
from tips_med.exporters.dicom.equipment import DESCRIPTION
from tips_med.serving.archive import Archive, ArchiveError, SeriesFound, StudyFound
from tips_med.serving.bounds import Bounds, Incoming
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
    first.Modality, first.SeriesDescription = "SR", DESCRIPTION
    first.SOPInstanceUID = pydicom.uid.generate_uid()
    first.SeriesInstanceUID = pydicom.uid.generate_uid()
    first.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    first.save_as(out / "sr.dcm", enforce_file_format=True)


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class MemoryArchive(Archive):
    """Keeps what it is sent; ``failing`` is raised instead while it is set, ``cut_off`` after storing."""

    address = "memory"

    def __init__(self, held: Sequence[Dataset] = ()) -> None:
        self.held = list(held)
        self.stored: list[tuple[str, str, str]] = []
        self.failing: Exception | None = None
        self.cut_off: BaseException | None = None
        self.asked = 0

    def studies(self, modality: str, since: date, most: int) -> list[StudyFound]:
        self._ask()
        uids = dict.fromkeys(one.StudyInstanceUID for one in self.held if one.Modality == modality)
        return [StudyFound(uid, sum(one.StudyInstanceUID == uid for one in self.held)) for uid in uids][:most]

    def series(self, study_uid: str) -> list[SeriesFound]:
        self._ask()
        series: dict[str, list[Dataset]] = {}
        for one in self.held:
            if one.StudyInstanceUID == study_uid:
                series.setdefault(one.SeriesInstanceUID, []).append(one)
        return [
            SeriesFound(uid, items[0].Modality, items[0].get("SeriesDescription", ""), len(items))
            for uid, items in series.items()
        ]

    def instances(self, study_uid: str, series_uid: str | None = None) -> list[str]:
        self._ask()
        return [str(one.SOPInstanceUID) for one in self._of(study_uid, series_uid)]

    def retrieve(
        self, study_uid: str, folder: Path, series_uid: str | None = None, bounds: Bounds | None = None
    ) -> Iterator[Path]:
        self._ask()
        for n, one in enumerate(self.sent(study_uid, series_uid)):
            buffer = io.BytesIO()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd values that a test is about
                one.save_as(buffer, enforce_file_format=True)
            file = Incoming(folder / str(n), bounds or Bounds())
            file.write(buffer.getvalue())
            yield file.finish()

    def sent(self, study_uid: str, series_uid: str | None) -> Iterator[Dataset]:
        """What it sends when it is asked for a study."""
        yield from self._of(study_uid, series_uid)

    def store(self, files: Sequence[Path]) -> None:
        self._ask()
        for file in files:
            made = pydicom.dcmread(file)
            self.held = [one for one in self.held if one.SOPInstanceUID != made.SOPInstanceUID] + [made]
            self.stored.append((made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID))
        if self.cut_off:
            error, self.cut_off = self.cut_off, None
            raise error

    def _of(self, study_uid: str, series_uid: str | None) -> list[Dataset]:
        return [
            one
            for one in self.held
            if one.StudyInstanceUID == study_uid and series_uid in (None, one.SeriesInstanceUID)
        ]

    def _ask(self) -> None:
        self.asked += 1
        if self.failing:
            raise self.failing


DOWN = ArchiveError("is down", code="unreachable")
REFUSES = ArchiveError("refuses", code="refused")
