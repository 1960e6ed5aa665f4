"""A finding is shown in the window that radiologists read it in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.exporters.patient import ask, make_scan
from tips_med.exporters.display_windows import BONE, LUNG, SOFT_TISSUE, Window, window_for


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ("nodule", LUNG),
        ("ground-glass opacity in the left lung", LUNG),
        ("left lung", LUNG),
        ("calcification in the left lung", LUNG),
        ("calcification", SOFT_TISSUE),
        ("lesion in the liver", SOFT_TISSUE),
        ("pleural effusion", SOFT_TISSUE),
        ("liver", SOFT_TISSUE),
        ("nodule in the liver", SOFT_TISSUE),
        ("rib fracture", BONE),
        ("lesion in the spine", BONE),
    ],
)
def test_the_window_is_that_of_the_finding_and_its_place(query: str, window: Window) -> None:
    assert window_for(ask(query), make_scan()) == window


def test_a_window_shows_its_width_around_its_level() -> None:
    assert LUNG.limits == (-1350.0, 150.0)
    assert SOFT_TISSUE.limits == (-160.0, 240.0)
    assert str(LUNG) == "W 1500 L \N{MINUS SIGN}600"


def test_other_modalities_are_shown_from_the_first_to_the_99th_percentile() -> None:
    scan = make_scan(modality="MR")
    values = np.linspace(0, 1000, scan.voxels.size, dtype=np.float32).reshape(scan.shape)
    values[0] = np.nan
    low, high = np.nanpercentile(values, [1, 99])
    window = window_for(ask("nodule"), replace(scan, voxels=values))
    assert window.limits == pytest.approx((low, high), abs=4)
    assert window.name == "MR, 1st to 99th percentile"
    flat = window_for(ask("nodule"), replace(scan, voxels=np.full(scan.shape, 7, np.float32)))
    assert flat.width > 0 and flat.level == 7
    assert window_for(ask("nodule"), replace(scan, voxels=np.full(scan.shape, np.nan, np.float32))).limits == (0, 1)
