"""More than one volume behind a path, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.phantom import CENTRE
from tests.readers.awkward.writing import (
    MR,
    ROOT,
    Slice,
    make_series,
    store,
    truth_of,
    write_file,
    write_series,
)

SERIES_2 = f"{ROOT}.200.2"
_SCOUT = (1, 0, 0, 0, 0, -1)


def _scout(series: int) -> Slice:
    scout = make_series(slices=1, orientation=_SCOUT, series=series, rows=40, columns=40)[0]
    return scout.set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID=f"{ROOT}.66.{series}")


def _two_series(folder: Path) -> Written:
    first, second = make_series(), make_series(series=2, step_mm=3.0, slices=10)
    write_series(folder / "a", first)
    write_series(folder / "b", second)
    return Written(folder, (truth_of(first), truth_of(second)))


def _localizer_beside(folder: Path) -> Written:
    slices = make_series()
    write_file(folder / "A0.dcm", _scout(5).dataset)
    return Written(write_series(folder, slices), (truth_of(slices),))


def _localizer_inside(folder: Path) -> Written:
    slices = make_series()
    write_file(folder / "A0.dcm", _scout(1).dataset)
    return Written(write_series(folder, slices), (truth_of(slices),))


def _localizer_alone(folder: Path) -> Written:
    scout = _scout(5)
    return Written(write_series(folder, [scout]), (truth_of([scout]),))


def _phases(tag: Callable[[int, int], dict[str, object]], count: int = 2, **plan: Any) -> Callable[[Path], Written]:
    """Volumes at the same positions in one series; volume ``p`` is scaled, so that mixing them shows."""

    def write(folder: Path) -> Written:
        truths = []
        number = 0
        for phase in range(count):
            slices = make_series(**plan)
            for k, item in enumerate(slices):
                number += 1
                store(item, item.values * (1 - 0.1 * phase) + 30 * phase)
                item.set(SOPInstanceUID=f"{ROOT}.8.{number}", InstanceNumber=number, **tag(phase, k))
            truths.append(truth_of(slices))
            write_series(folder, slices, names=[f"{k:03d}-{phase}.dcm" for k in range(len(slices))])
        return Written(folder, tuple(truths))

    return write


def _interleaved_kernels(folder: Path) -> Written:
    soft, sharp = make_series(step_mm=5.0, slices=6), make_series(step_mm=5.0, slices=6, centre=CENTRE + [0, 0, 2.5])
    for n, item in enumerate(sharp):
        store(item, item.values * 0.8 + 50)
        item.set(SOPInstanceUID=f"{ROOT}.8.{n + 1}", InstanceNumber=50 + n, ConvolutionKernel="B70f")
    for item in soft:
        item.set(ConvolutionKernel="B30f")
    write_series(folder / "soft", soft)
    write_series(folder / "sharp", sharp)
    return Written(folder, (truth_of(sharp), truth_of(soft)))


def _one_slice_of_other_size(folder: Path) -> Written:
    slices = make_series()
    odd = make_series(rows=20, columns=20)[6].set(SOPInstanceUID=f"{ROOT}.9.9")
    write_file(folder / "odd.dcm", odd.dataset)
    return Written(write_series(folder, slices), (truth_of(slices),))


def _object(sop_class: str, modality: str, image: bool) -> Slice:
    item = make_series(slices=1)[0].set(
        SOPClassUID=sop_class, Modality=modality, SeriesInstanceUID=f"{ROOT}.44", SOPInstanceUID=f"{ROOT}.44.1"
    )
    if not image:
        for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "PixelSpacing", "ImagePositionPatient"):
            delattr(item.dataset, keyword)
    return item


def _alone(sop_class: str, modality: str, image: bool = True) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        item = _object(sop_class, modality, image)
        write_file(folder / "object.dcm", item.dataset)
        return Written(folder, (truth_of([item]),) if image else ())

    return write


def _captures(folder: Path) -> Written:
    slices = make_series()
    for item in slices:
        item.set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    return Written(write_series(folder, slices), (truth_of(slices),))


def _objects_beside(folder: Path) -> Written:
    slices = make_series()
    write_file(folder / "rs.dcm", _object("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", False).dataset)
    capture = _object("1.2.840.10008.5.1.4.1.1.7", "OT", True).dataset
    capture.SeriesInstanceUID, capture.SOPInstanceUID = f"{ROOT}.45", f"{ROOT}.45.1"
    write_file(folder / "zz.dcm", capture)
    return Written(write_series(folder, slices), (truth_of(slices),))


CASES = [
    Case("two series", _two_series, "several-series", {"series": SERIES_2}, 1),
    Case("localizer beside the series", _localizer_beside, note="localizer"),
    Case("localizer inside the series", _localizer_inside, note="localizer"),
    Case("localizer alone", _localizer_alone, "localizer"),
    Case(
        "4-D: time points by identifier",
        _phases(lambda p, k: {"TemporalPositionIdentifier": p + 1}, 3),
        "several-phases",
        {"phase": 2},
        1,
        "TemporalPositionIdentifier 2",
    ),
    Case(
        "4-D: time points by acquisition number",
        _phases(lambda p, k: {"AcquisitionNumber": p + 1, "ContentTime": f"1200{p * 12 + k:02d}"}),
        "several-phases",
        {"phase": 2},
        1,
    ),
    Case(
        "4-D: every slice its own acquisition time",
        _phases(lambda p, k: {"AcquisitionTime": f"1200{p * 20 + k:02d}"}),
        "several-phases",
        {"phase": 2},
        1,
    ),
    Case(
        "4-D: cardiac phases",
        _phases(lambda p, k: {"NominalPercentageOfCardiacPhase": 30.0 + 40 * p}),
        "several-phases",
        {"phase": 1},
        0,
    ),
    Case("4-D: nothing tells the volumes apart", _phases(lambda p, k: {}), "duplicate-position"),
    Case(
        "MR: two echoes",
        _phases(lambda p, k: {"EchoTime": str(10 + 20 * p)}, sop_class=MR, modality="MR", intercept=-1100),
        "several-phases",
        {"phase": 2},
        1,
    ),
    Case(
        "two reconstructions in one series, same positions",
        _phases(lambda p, k: {"ConvolutionKernel": ("B30f", "B70f")[p]}),
        "several-phases",
        {"phase": 1},
        0,
    ),
    Case(
        "two reconstructions in one series, interleaved",
        _interleaved_kernels,
        "several-phases",
        {"phase": 1},
        0,
        "ConvolutionKernel",
    ),
    Case("one slice of another size", _one_slice_of_other_size, "several-phases", {"phase": 1}, 0),
    Case("secondary captures", _captures, "secondary-capture"),
    Case("radiotherapy dose", _alone("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE"), "radiotherapy-object"),
    Case("radiotherapy structures", _alone("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", False), "radiotherapy-object"),
    Case("segmentation object", _alone("1.2.840.10008.5.1.4.1.1.66.4", "SEG"), "not-a-volume"),
    Case("structures and captures beside the series", _objects_beside, note="left out"),
]
