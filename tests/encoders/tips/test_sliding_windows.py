from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tips_med.encoders.tips.sliding_windows import encode_windows, fitted_grid, window_starts


def brightness(pixels: torch.Tensor) -> torch.Tensor:
    """A tower without context: each patch becomes the mean of its pixels, channel by channel."""
    return functional.avg_pool2d(pixels, 14).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [((448, 448), [0]), ((462, 462), [0, 1]), ((784, 784), [0, 24]), ((1120, 1120), [0, 24, 48])],
)
def test_windows_of_448_every_336_as_the_authors_lay_them(pixels: tuple[int, int], expected: list[int]) -> None:
    # predict_slide: y1 = n * 336, shifted back where it would leave the image.
    assert window_starts(pixels[0] // 14, 32, 24) == expected


@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_windows_cover_everything_and_stay_inside(size: int, side: int, data: st.DataObject) -> None:
    starts = window_starts(size, side, data.draw(st.integers(1, side)))
    covered = {n for start in starts for n in range(start, start + side)} & set(range(size))
    assert covered == set(range(size))
    assert len(set(starts)) == len(starts)
    assert max(starts) + side <= max(size, side)


@given(st.integers(1, 60), st.integers(1, 60))
def test_small_slices_fill_the_grid_and_large_ones_keep_their_size(y: int, x: int) -> None:
    rows, columns = fitted_grid(14 * y, 14 * x, side=32, patch=14)
    if max(y, x) <= 32:
        assert max(rows, columns) == 32
        assert abs(rows / columns * x / y - 1) <= 0.5 / min(rows, columns) + 1e-9 or min(rows, columns) == 1
    else:
        assert (rows, columns) == (y, x)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_windows_meet_patch_on_patch(rows: int, columns: int, seed: int) -> None:
    pixels = torch.rand(2, 3, rows * 14, columns * 14, generator=torch.Generator().manual_seed(seed))
    whole = functional.normalize(brightness(pixels), dim=-1)
    torch.testing.assert_close(encode_windows(brightness, pixels, side=4, stride=3, patch=14), whole)


def test_overlapping_windows_are_averaged_as_unit_vectors() -> None:
    calls: list[int] = []

    def one_direction_a_window(pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(calls))
        out = torch.zeros(len(pixels), pixels.shape[-2] // 14, pixels.shape[-1] // 14, 2)
        out[..., calls[-1]] = 10.0 ** calls[-1]  # lengths must not weigh
        return out

    found = encode_windows(one_direction_a_window, torch.zeros(1, 3, 14, 3 * 14), side=2, stride=1, patch=14)
    half = 0.5**0.5
    torch.testing.assert_close(found[0, 0], torch.tensor([[1.0, 0.0], [half, half], [0.0, 1.0]]))
