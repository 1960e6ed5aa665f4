"""Stored values that need care."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.geometry_cases import edited, read_plainly, unplaceable
from tests.readers.awkward.phantom import hounsfield
from tests.readers.awkward.writing import (
    MR,
    PT,
    Slice,
    make_series,
    put_stored,
    store,
    stored_of,
    truth_of,
    write_series,
)


def _slopes_differ(sop_class: str, modality: str) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series(sop_class=sop_class, modality=modality, bits=16)
        for n, item in enumerate(slices):
            item.set(RescaleSlope=f"{0.05 + 0.01 * n:.3f}", RescaleIntercept=f"{-1200 - 3 * n}")
            store(item, hounsfield(item.points))
            if modality == "PT":
                item.set(Units="BQML", RescaleType=None)
        return Written(write_series(folder, slices), (truth_of(slices),))

    return write


def _no_rescale(slices: list[Slice]) -> None:
    for item in slices:
        item.set(RescaleSlope=None, RescaleIntercept=None, RescaleType=None)


def _stored_as_hu(modality: str, sop_class: str) -> Callable[[Path], Written]:
    """Signed values stored without any rescaling."""
    plan = {"signed": True, "intercept": 0.0, "bits": 16, "modality": modality, "sop_class": sop_class}
    return edited(_no_rescale, **plan)


def _junk_above(signed: bool) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series(signed=signed, intercept=-1024.0 if not signed else 0.0)
        noise = np.random.default_rng(1)
        for item in slices:
            stored = stored_of(item).view("<u2")
            junk = noise.integers(0, 16, stored.shape).astype("<u2") << 12
            put_stored(item, (stored & 0x0FFF) | junk)
        return Written(write_series(folder, slices), (truth_of(slices),))

    return write


def _padded(declared: int, stored_value: int, limit: int | None = None) -> Callable[[Path], Written]:
    """Corners filled with a value that would be tissue, were it not declared as padding."""

    def write(folder: Path) -> Written:
        slices = make_series(signed=True, bits=16)
        for item in slices:
            stored = stored_of(item)
            stored[stored == stored_value] += 1
            corner = np.add.outer(np.arange(stored.shape[0]), np.arange(stored.shape[1])) < 9
            stored[corner] = stored_value
            put_stored(item, stored)
            item.values = stored.astype(float) - 1024
            item.values[corner] = np.nan
            vr = "US" if declared > 32767 else "SS"
            item.dataset.add_new(0x00280120, vr, declared)
            if limit is not None:
                item.values[(stored >= declared) & (stored <= limit)] = np.nan
                item.dataset.add_new(0x00280121, "SS", limit)
        return Written(write_series(folder, slices), (truth_of(slices),))

    return write


def _rescaled_twice(folder: Path) -> Written:
    slices = make_series(signed=True, bits=16)
    for item in slices:
        put_stored(item, np.rint(hounsfield(item.points)).astype("<i2"))
        item.values = np.rint(hounsfield(item.points)) - 1024
    return Written(write_series(folder, slices), (truth_of(slices),))


def _undeclared_padding(folder: Path) -> Written:
    slices = make_series(signed=True, bits=16)
    for item in slices:
        stored = stored_of(item)
        corner = np.add.outer(np.arange(stored.shape[0]), np.arange(stored.shape[1])) < 9
        stored[corner] = -2000
        put_stored(item, stored)
        item.values[corner] = np.nan
    return Written(write_series(folder, slices), (truth_of(slices),))


def _high_bits(folder: Path) -> Written:
    """12 bits stored in the upper part of 16, as old scanners do."""
    slices = make_series()
    for item in slices:
        put_stored(item, stored_of(item) << 4)
        item.set(HighBit=15)
    return Written(write_series(folder, slices), (truth_of(slices),))


def _no_air(folder: Path) -> Written:
    slices = make_series()
    for item in slices:
        store(item, np.maximum(item.values, 0))
    return Written(write_series(folder, slices), (truth_of(slices),))


def _inverted(slices: list[Slice]) -> None:
    for item in slices:
        item.set(PhotometricInterpretation="MONOCHROME1")


def _colour(slices: list[Slice]) -> None:
    for item in slices:
        rgb = np.zeros((24, 20, 3), np.uint8)
        item.set(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8)
        item.set(BitsStored=8, HighBit=7, PixelData=rgb.tobytes())


def _one_without(slices: list[Slice]) -> None:
    slices[4].set(RescaleSlope=None, RescaleIntercept=None)


CASES = [
    Case("CT: slope and intercept differ between slices", _slopes_differ("1.2.840.10008.5.1.4.1.1.2", "CT")),
    Case("PET: slope differs between slices", _slopes_differ(PT, "PT")),
    Case("MR: signed, no rescaling", _stored_as_hu("MR", MR)),
    Case("CT: no rescaling, values are HU", _stored_as_hu("CT", "1.2.840.10008.5.1.4.1.1.2"), note="No Rescale"),
    Case("CT: no rescaling, values are not HU", unplaceable(_no_rescale), "no-rescale"),
    Case("CT: one slice without rescaling", unplaceable(_one_without), "mixed-rescale"),
    Case("PET: no rescaling", unplaceable(_no_rescale, sop_class=PT, modality="PT"), "no-rescale"),
    Case("signed 16 bit", read_plainly(signed=True, bits=16, intercept=0.0)),
    Case("signed 12 bit", read_plainly(signed=True, bits=12, intercept=0.0)),
    Case("junk above BitsStored, unsigned", _junk_above(False)),
    Case("junk above BitsStored, signed", _junk_above(True)),
    Case("HighBit 15 for 12 bits", _high_bits),
    Case("PixelPaddingValue in the range of tissue", _padded(1064, 1064)),
    Case("PixelPaddingValue written unsigned for signed pixels", _padded(63536, -2000)),
    Case("PixelPaddingRangeLimit", _padded(1050, 1055, 1060)),
    Case("padding far below air, not declared", _undeclared_padding, note="taken as padding"),
    Case("HU rescaled twice", _rescaled_twice, note="rescaled twice"),
    Case("no air", _no_air, note="No air"),
    Case("MONOCHROME1", edited(_inverted)),
    Case("colour images", unplaceable(_colour), "colour-image"),
]
