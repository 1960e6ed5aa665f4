"""Enhanced and legacy-converted multi-frame objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.writing import ROOT, Slice, make_series, store, truth_of, write_file

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_MR = "1.2.840.10008.5.1.4.1.1.4.4"

_MOVED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope")
_MOVED += ("RescaleIntercept", "RescaleType", "InstanceNumber")


def _item(**elements: Any) -> Items:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Items([item])


def merge(slices: Sequence[Slice], sop_class: str, times: Sequence[int] | None = None) -> Dataset:
    """One multi-frame object of classic slices (PS3.3 A.38, A.36, A.70)."""
    whole = Dataset()
    whole.update(slices[0].dataset)
    for keyword in _MOVED:
        if keyword in whole:
            delattr(whole, keyword)
    whole.SOPClassUID, whole.NumberOfFrames, whole.InstanceNumber = sop_class, len(slices), 1
    whole.SOPInstanceUID = f"{ROOT}.77.1"
    whole.PixelData = b"".join(item.dataset.PixelData for item in slices)
    first = slices[0].dataset
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=first.ImageOrientationPatient)
    whole.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for n, item in enumerate(slices):
        groups = Dataset()
        groups.PlanePositionSequence = _item(ImagePositionPatient=item.dataset.ImagePositionPatient)
        groups.FrameContentSequence = _item(StackID="1", InStackPositionNumber=n + 1)
        if times is not None:
            groups.FrameContentSequence[0].TemporalPositionIndex = times[n]
        if "RescaleSlope" in item.dataset:
            groups.PixelValueTransformationSequence = _item(
                RescaleIntercept=item.dataset.RescaleIntercept,
                RescaleSlope=item.dataset.RescaleSlope,
                RescaleType="HU" if item.dataset.Modality == "CT" else "US",
            )
        frames.append(groups)
    whole.PerFrameFunctionalGroupsSequence = Items(frames)
    return whole


def _written(
    sop_class: str, order: Callable[[list[Slice]], list[Slice]] = list, **plan: Any
) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series(**plan)
        if "bits" in plan:
            for n, item in enumerate(slices):
                item.set(RescaleSlope=f"{0.05 + 0.01 * n:.3f}", RescaleIntercept=f"{-1200 - 3 * n}")
                store(item, item.values)
        truth = truth_of(slices)
        return Written(write_file(folder / "multi.dcm", merge(order(slices), sop_class)), (truth,))

    return write


def _four_d(folder: Path) -> Written:
    early, late = make_series(sop_class=ENHANCED_MR, modality="MR"), make_series(sop_class=ENHANCED_MR, modality="MR")
    for item in late:
        store(item, item.values * 0.8 + 100)
    mixed = [item for pair in zip(early, late, strict=True) for item in pair]
    whole = merge(mixed, ENHANCED_MR, [1, 2] * len(early))
    return Written(write_file(folder / "multi.dcm", whole), (truth_of(early), truth_of(late)))


def _frame_missing(folder: Path) -> Written:
    slices = make_series()
    kept = slices[:4] + slices[5:]
    empty = slices[4].points.reshape(-1, 3)
    return Written(write_file(folder / "multi.dcm", merge(kept, ENHANCED_CT)), (truth_of(kept, empty=empty),))


def _count_wrong(folder: Path) -> Written:
    whole = merge(make_series(), ENHANCED_CT)
    whole.NumberOfFrames = 11
    return Written(write_file(folder / "multi.dcm", whole))


def _shuffled(slices: list[Slice]) -> list[Slice]:
    return slices[1::2] + slices[::2][::-1]


CASES = [
    Case("enhanced CT", _written(ENHANCED_CT)),
    Case("enhanced CT, frames out of order", _written(ENHANCED_CT, _shuffled)),
    Case(
        "enhanced CT, sagittal, slope differs between frames",
        _written(ENHANCED_CT, orientation=(0, 1, 0, 0, 0, -1), bits=16),
    ),
    Case("legacy-converted CT", _written(LEGACY_CT)),
    Case("enhanced MR", _written(ENHANCED_MR, modality="MR")),
    Case("legacy-converted MR", _written(LEGACY_MR, modality="MR")),
    Case("enhanced MR, two time points", _four_d, "several-phases", {"phase": 2}, 1),
    Case("enhanced CT, a frame missing", _frame_missing, "missing-slice", {"fill_gaps": True}),
    Case("enhanced CT, wrong number of frames", _count_wrong, "damaged-file"),
]
