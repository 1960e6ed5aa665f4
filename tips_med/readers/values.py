"""Whether the values are what the modality promises: units, and the air of a CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tips_med.errors import ReadError
from tips_med.readers.headers import Frame

AIR_HU = (-1100.0, -850.0)
"""Where the air around and inside a patient lies on a calibrated scanner; -1000 by definition."""

_SAMPLE = 2_000_000
_WORTH_TELLING = 0.005


def unit_of(modality: str, frame: Frame) -> str:
    """``HU`` for CT, the Units of PET (``BQML``), else Rescale Type; empty when unspecified."""
    stated = frame.rescale_type.strip().upper()
    if stated in ("US", ""):
        return "HU" if modality == "CT" else ""
    return stated


def check_values(voxels: np.ndarray, modality: str, unit: str, frame: Frame, path: Path) -> list[str]:
    """Notes on values that are unlike the modality's, from a sample of the voxels.

    Raises:
        ReadError: ``no-rescale``: a CT without a rescaling to HU, whose air is not near -1000.
            ``no-values``: nothing but padding.
    """
    step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
    sample = voxels[::step, ::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        sample = voxels[np.isfinite(voxels)]
    if not sample.size:
        raise ReadError("every pixel is padding: there are no values", path=path, code="no-values")
    if modality != "CT" or unit != "HU":
        return []
    share = _share(sample, *AIR_HU)
    if frame.slope is None or frame.intercept is None:
        if share < _WORTH_TELLING:
            raise ReadError(
                "is a CT without Rescale Slope or Intercept, and no air is found near -1000",
                path=path,
                expected="a rescaling to Hounsfield units",
                remedy="export the series again from its source",
                code="no-rescale",
            )
        if frame.slope is None and frame.intercept is None:
            return ["No Rescale Slope or Intercept: the stored values were taken as HU, since their air is near -1000."]
        if frame.slope is None:
            return [f"No Rescale Slope: taken as 1, beside an intercept of {frame.intercept:g}; air is near -1000 HU."]
        return [f"No Rescale Intercept: taken as 0, beside a slope of {frame.slope:g}; air is near -1000 HU."]
    intercept = frame.intercept or 0.0
    twice = -1000.0 + intercept
    if intercept <= -500 and (doubled := _share(sample, twice - 150, twice + 150)) > 0.05 and share < doubled:
        return [
            f"{doubled:.0%} of the values lie near {twice:g} HU, the intercept ({intercept:g}) below air: "
            "the file seems to hold HU already, so that they were rescaled twice."
        ]
    if share < _WORTH_TELLING:
        low = float(np.percentile(sample, 1))
        return [f"No air near -1000 HU (the lowest 1% of values lie below {low:.0f}): check that these are HU."]
    return []


def clear_undeclared_padding(voxels: np.ndarray, modality: str, unit: str) -> list[str]:
    """Sets undeclared padding of a CT outside its field of view to NaN, in place; returns a note when it did.

    Scanners fill the corners with a value far below air (-2048, -3024) and do not always declare it in Pixel Padding
    Value. It is taken as padding only when it is the lowest value, at or below -1500 HU, a hundred HU apart from every
    other value, and the rest holds air near -1000 and soft tissue near 0 as a calibrated CT does.
    """
    if modality != "CT" or unit != "HU":
        return []
    step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
    sample = voxels[::step, ::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size and (note := _clear_wrapped(voxels, sample)):
        return [note]
    lowest = float(sample.min()) if sample.size else 0.0
    if lowest > -1500:
        return []
    rest = sample[sample > lowest]
    padded = 1 - rest.size / sample.size
    if padded < _WORTH_TELLING or not rest.size or rest.min() < lowest + 100:
        return []
    if _share(rest, *AIR_HU) < _WORTH_TELLING or _share(rest, -150.0, 200.0) < 0.05:
        return []
    for plane in voxels:
        plane[plane == lowest] = np.nan
    return [f"{padded:.0%} of the voxels hold {lowest:g} HU, far below air: taken as padding (NaN)."]


def _clear_wrapped(voxels: np.ndarray, sample: np.ndarray) -> str:
    """Sets to NaN a negative padding value that was stored in unsigned pixels (-2000 as 63536); a note when it did."""
    highest = float(sample.max())
    rest = sample[sample < highest]
    if highest < 30_000 or highest - 65_536 > -1000 or not rest.size or rest.max() > highest - 10_000:
        return ""
    padded = 1 - rest.size / sample.size
    for plane in voxels:
        plane[plane == highest] = np.nan
    return (
        f"{padded:.0%} of the voxels hold {highest:g} HU, which is {highest - 65_536:g} written without a sign: "
        "taken as padding (NaN)."
    )


def _share(sample: np.ndarray, low: float, high: float) -> float:
    return float(np.mean((sample >= low) & (sample <= high)))
