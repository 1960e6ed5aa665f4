"""Organs outside the chest: one piece where the body has one, and sides by the midline."""

from __future__ import annotations

import numpy as np
import pytest

from tips_med.body import Body, Midline
from tips_med.grounding.answer import Instance
from tips_med.grounding.organs import largest_pieces, sided_by_midline

LPS_FROM_CELL = np.array([[0, 0, 2.0, -100], [0, 2.0, 0, -80], [2.5, 0, 0, 300.0], [0, 0, 0, 1]])
NOWHERE = np.zeros((5, 4, 4), bool)


def piece(label: int, x_mm: float, volume_ml: float, z_mm: float = 302.5) -> Instance:
    place = (x_mm, 0.0, z_mm)
    return Instance(label, None, "", volume_ml, 30.0, (0, 1), (), 40.0, 0.9, place, place)


def body(source: str = "spine") -> Body:
    """A body whose midline goes from x = 0 in the lowest slab to x = 40 mm in the highest."""
    return Body(NOWHERE, Midline(np.linspace(0.0, 40.0, 5), 60.0, 8.0, source), {}, (0.0, 0.0))  # type: ignore[arg-type]


def test_a_side_is_that_of_the_centroid_from_the_midline_of_its_slab():
    pieces = (piece(1, 30.0, 9.0, 300.0), piece(2, 30.0, 8.0, 310.0), piece(3, 15.0, 7.0, 302.5))
    sided = sided_by_midline(pieces, "kidney", body(), LPS_FROM_CELL)
    assert [one.side for one in sided] == ["left", "right", None]  # the last is within the error of 8 mm
    assert [one.region for one in sided] == ["left kidney", "right kidney", ""]
    upside_down = LPS_FROM_CELL @ np.diag([-1.0, 1, 1, 1])
    upside_down[2, 3] = 310.0
    turned = sided_by_midline(pieces, "kidney", body(), upside_down)
    assert [one.side for one in turned][:2] == ["right", "left"]


def test_without_a_midline_there_is_no_side():
    assert [one.side for one in sided_by_midline((piece(1, 60.0, 9.0),), "kidney", body("none"), LPS_FROM_CELL)] == [
        None
    ]


@pytest.mark.parametrize(
    ("paired", "x_mm", "volumes", "kept"),
    [
        (False, [60, -60, 60], [5.0, 90.0, 7.0], [2]),
        (True, [60, -60, 62], [5.0, 90.0, 7.0], [2, 3]),  # the larger one of the left
        (True, [60, 61, 62], [5.0, 90.0, 7.0], [2]),  # nothing on the right
        (True, [20, 21, 22], [5.0, 90.0, 7.0], [2, 3]),  # sides not known: two
    ],
)
def test_the_largest_piece_is_kept_or_one_on_either_side(paired, x_mm, volumes, kept):
    labels = np.array([0, 1, 2, 3, 3, 2, 1], np.uint8).reshape(1, 1, 7)
    pieces = tuple(piece(n, x, ml, 305.0) for n, (x, ml) in enumerate(zip(x_mm, volumes), start=1))
    sided = sided_by_midline(pieces, "kidney", body(), LPS_FROM_CELL)
    numbered, left = largest_pieces(labels, sided, paired)
    assert [one.volume_ml for one in left] == [volumes[n - 1] for n in kept]
    assert [one.label for one in left] == list(range(1, len(kept) + 1))
    for new, old in enumerate(kept, start=1):
        np.testing.assert_array_equal(numbered == new, labels == old)
    assert set(np.unique(numbered)) == set(range(len(kept) + 1))


def test_nothing_stays_nothing():
    labels = np.zeros((1, 2, 2), np.uint8)
    numbered, left = largest_pieces(labels, (), True)
    assert left == ()
    assert not numbered.any()
