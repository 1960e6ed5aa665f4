"""Slices that are missing, doubled, tilted, turned or out of order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.phantom import Truth, hounsfield, inside_one_tissue
from tests.readers.awkward.writing import ROOT, Slice, make_series, store, truth_of, write_file, write_series

_TILT = np.radians(18)
_TURN = np.linalg.qr(np.array([[1.0, 0.31, -0.2], [-0.35, 1.0, 0.4], [0.15, -0.37, 1.0]]))[0]
OBLIQUE = (*(_TURN[:, 0] * np.sign(_TURN[0, 0])), *(_TURN[:, 1] * np.sign(_TURN[1, 1])))


def read_plainly(**plan: Any) -> Callable[[Path], Written]:
    """A series that only its plan makes awkward."""

    def write(folder: Path) -> Written:
        slices = make_series(**plan)
        return Written(write_series(folder, slices), (truth_of(slices),))

    return write


def edited(edit: Callable[[list[Slice]], list[Slice] | None], **plan: Any) -> Callable[[Path], Written]:
    """A series edited before it is written; the truth is that of the unedited series."""

    def write(folder: Path) -> Written:
        slices = make_series(**plan)
        truth = truth_of(slices)
        return Written(write_series(folder, edit(slices) or slices), (truth,))

    return write


def unplaceable(edit: Callable[[list[Slice]], list[Slice] | None], **plan: Any) -> Callable[[Path], Written]:
    """As ``edited``, but what is left has no right volume."""
    return lambda folder: Written(edited(edit, **plan)(folder).path)


def _every(**elements: Any) -> Callable[[list[Slice]], None]:
    def edit(slices: list[Slice]) -> None:
        for item in slices:
            item.set(**elements)

    return edit


def _without(*gone: int) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series()
        kept = [item for n, item in enumerate(slices) if n not in gone]
        empty = np.concatenate([slices[n].points.reshape(-1, 3) for n in gone])
        return Written(write_series(folder, kept), (truth_of(kept, empty=empty),))

    return write


def _uneven(folder: Path) -> Written:
    slices = make_series(step_mm=2.0)
    wide = make_series(step_mm=3.1)
    mixed = slices[:6] + [item for item in wide if item.points[0, 0, 2] > slices[5].points[0, 0, 2] + 0.5]
    for n, item in enumerate(mixed):
        item.set(SOPInstanceUID=f"{ROOT}.7.{n + 1}", InstanceNumber=n + 1)
    return Written(write_series(folder, mixed), ())


def _tilted(folder: Path) -> Written:
    orientation = (1, 0, 0, 0, np.cos(_TILT), -np.sin(_TILT))
    slices = make_series(orientation=orientation, step=(0, 0, 2.5))
    for item in slices:
        item.set(GantryDetectorTilt="18")
    points = np.concatenate([item.points[2:-2, 2:-2].reshape(-1, 3) for item in slices])
    values = np.concatenate([item.values[2:-2, 2:-2].ravel() for item in slices])
    kept = inside_one_tissue(points, 2.0)
    return Written(write_series(folder, slices), (Truth(points[kept], values[kept], 4.0),))


def _same_file_twice(folder: Path) -> Written:
    slices = make_series()
    write_file(folder / "again.dcm", slices[4].dataset)
    return Written(write_series(folder, slices), (truth_of(slices),))


def _doubled(other_pixels: bool) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series()
        twin = make_series()[4].set(SOPInstanceUID=f"{ROOT}.9.1", InstanceNumber=99)
        if other_pixels:
            store(twin, hounsfield(twin.points + [3.0, 1.0, 0.0]))
        write_series(folder, slices)
        write_file(folder / "twin.dcm", twin.dataset)
        return Written(folder, () if other_pixels else (truth_of(slices),))

    return write


def _rounded(slices: list[Slice]) -> None:
    for item in slices:
        item.set(ImagePositionPatient=[f"{float(x):.2f}" for x in item.dataset.ImagePositionPatient])


def _zigzag(slices: list[Slice]) -> None:
    for n, item in enumerate(slices):
        x, y, z = (float(v) for v in item.dataset.ImagePositionPatient)
        item.set(ImagePositionPatient=[f"{x + (n % 2) * 2:.4f}", f"{y:.4f}", f"{z:.4f}"])


def _numbered(numbers: Callable[[int], int | None]) -> Callable[[list[Slice]], None]:
    def edit(slices: list[Slice]) -> None:
        for n, item in enumerate(slices):
            item.set(InstanceNumber=numbers(n))

    return edit


def _shuffled_names(folder: Path) -> Written:
    slices = make_series()
    order = np.random.default_rng(3).permutation(len(slices))
    names = [f"{n * 7919 % 1009:x}" for n in order]
    return Written(write_series(folder, slices, names=names), (truth_of(slices),))


def _first_only(keyword: str, value: Any) -> Callable[[list[Slice]], None]:
    return lambda slices: slices[3].set(**{keyword: value}) and None


def _lying_locations(slices: list[Slice]) -> None:
    for n, item in enumerate(slices):
        item.set(SliceLocation=str(-17 * ((n * 5) % 12)), SpacingBetweenSlices="1", TableHeight="100")


CASES = [
    Case("plain axial", read_plainly()),
    Case("missing slice", _without(5), "missing-slice", {"fill_gaps": True}, note="missing"),
    Case("two gaps, one of two slices", _without(3, 7, 8), "missing-slice", {"fill_gaps": True}, note="missing"),
    Case("non-uniform spacing", _uneven, "non-uniform-spacing"),
    Case("gantry tilt", _tilted, "gantry-tilt", {"untilt": True}, note="Straightened"),
    Case("slices shifted in their plane", unplaceable(_zigzag), "shifted-slices"),
    Case("oblique in three axes", read_plainly(orientation=OBLIQUE)),
    Case("sagittal", read_plainly(orientation=(0, 1, 0, 0, 0, -1))),
    Case("coronal", read_plainly(orientation=(1, 0, 0, 0, 0, -1))),
    Case("anisotropic pixels", read_plainly(spacing_mm=(0.8, 2.4), rows=36, columns=12)),
    Case("rows to the right, columns to the front", read_plainly(orientation=(-1, 0, 0, 0, -1, 0))),
    Case("normal to the feet", read_plainly(orientation=(1, 0, 0, 0, -1, 0))),
    Case("feet first", edited(_every(PatientPosition="FFP"))),
    Case("reversed InstanceNumber", edited(_numbered(lambda n: 99 - n))),
    Case("missing InstanceNumber", edited(_numbered(lambda n: None))),
    Case("constant InstanceNumber", edited(_numbered(lambda n: 1))),
    Case("random file names", _shuffled_names),
    Case("wrong SliceLocation and SpacingBetweenSlices", edited(_lying_locations)),
    Case("positions rounded to 0.01 mm", edited(_rounded)),
    Case("same file twice", _same_file_twice, note="dropped"),
    Case("slice twice: new UID, same pixels", _doubled(False), note="dropped"),
    Case("slice twice: new UID, other pixels", _doubled(True), "duplicate-position"),
    Case("single slice", read_plainly(slices=1), note="single slice"),
    Case("no PixelSpacing", unplaceable(_every(PixelSpacing=None)), "no-pixel-spacing"),
    Case("PixelSpacing 0", unplaceable(_every(PixelSpacing=["0", "0"])), "bad-pixel-spacing"),
    Case("no ImagePositionPatient", unplaceable(_every(ImagePositionPatient=None)), "no-position"),
    Case(
        "one slice without ImagePositionPatient", unplaceable(_first_only("ImagePositionPatient", None)), "no-position"
    ),
    Case("no ImageOrientationPatient", unplaceable(_every(ImageOrientationPatient=None)), "no-orientation"),
    Case(
        "orientation of unequal length",
        unplaceable(_every(ImageOrientationPatient=["2", "0", "0", "0", "1", "0"])),
        "bad-orientation",
    ),
]
