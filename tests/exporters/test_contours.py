"""Contours give the mask back, by every rule of filling, with holes, islands and parts that touch at corners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from scipy import ndimage
from skimage.draw import polygon2mask

from tips_med.exporters.contours import closed_contours


def filled(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd, by scikit-image: a pixel is inside when its centre is."""
    made = np.zeros(shape, bool)
    for one in contours:
        made ^= polygon2mask(shape, one)
    return made


def wound(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """By winding number, which a hole in a separate contour would not survive."""
    rows, columns = np.indices(shape)
    made = np.zeros(shape, bool)
    for one in contours:
        turns = np.zeros(shape)
        for a, b in zip(one, np.roll(one, -1, axis=0), strict=True):
            left = (b[1] - a[1]) * (rows - a[0]) - (columns - a[1]) * (b[0] - a[0])
            turns += ((a[0] <= rows) & (b[0] > rows) & (left > 0)) * 1.0
            turns -= ((a[0] > rows) & (b[0] <= rows) & (left < 0)) * 1.0
        made |= turns != 0
    return made


def by_matplotlib(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    points = np.argwhere(np.ones(shape))
    made = np.zeros(shape, bool)
    for one in contours:
        made |= Outline(np.vstack([one, one[:1]])).contains_points(points).reshape(shape)
    return made


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    smooth=st.sampled_from([0.0, 0.7, 1.5]),
    share=st.sampled_from([-0.2, 0.0, 0.2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_mask_comes_back_exactly(rows: int, columns: int, smooth: float, share: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    mask = ndimage.gaussian_filter(noise, smooth) > share
    contours = closed_contours(mask)
    for fill in (filled, wound, by_matplotlib):
        np.testing.assert_array_equal(fill(contours, mask.shape), mask)


def test_rounding_to_whole_pixels_leaves_the_borders_of_the_mask() -> None:
    """Readers that round corners to pixels and fill borders too (OpenCV's) gain no row and no column."""
    mask = np.zeros((12, 14), bool)
    mask[2:9, 3:11] = True
    (contour,) = closed_contours(mask)
    corners = np.floor(contour + 0.5).astype(int)
    assert corners.min(axis=0).tolist() == [2, 3] and corners.max(axis=0).tolist() == [8, 10]


def test_holes_are_part_of_one_contour_and_islands_are_contours_of_their_own() -> None:
    mask = np.zeros((30, 30), bool)
    mask[1:29, 1:29] = True
    mask[4:14, 4:14] = False
    mask[7:11, 7:11] = True  # an island in the hole
    mask[18:22, 5:9] = mask[16:24, 15:25] = False
    contours = closed_contours(mask)
    assert len(contours) == 2
    for fill in (filled, wound, by_matplotlib):
        np.testing.assert_array_equal(fill(contours, mask.shape), mask)


@pytest.mark.parametrize("at", [(0, 0), (4, 6)])
def test_one_pixel_has_a_contour_of_four_points(at: tuple[int, int]) -> None:
    mask = np.zeros((5, 7), bool)
    mask[at] = True
    (contour,) = closed_contours(mask)
    assert contour.shape == (4, 2)
    np.testing.assert_allclose(contour.mean(axis=0), at)


def test_points_on_straight_lines_are_left_out_and_nothing_has_none() -> None:
    mask = np.zeros((40, 40), bool)
    assert closed_contours(mask) == []
    mask[5:35, 5:35] = True
    (contour,) = closed_contours(mask)
    assert len(contour) == 8, "a square with its corners cut"
