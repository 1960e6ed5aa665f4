# Copied from tips_med/body/outline.py by copies.py: change it there.
"""Where the body is: tissue, and the air that it holds; table, couch, blankets and the room are outside."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
from scipy import ndimage

TISSUE_HU = -350.0
"""Denser than any lung, foam or blanket, and thinner than fat where a cell is only partly filled."""

SKIN_HU = -500.0
"""A cell of the skin's edge, or of a thin chest wall, which holds some air as well."""

AIR_HU = -940.0
"""The room around a patient is mostly thinner than this, a lung is mostly denser."""

Edge = Literal["right", "left", "front", "back"]

CUT_MM = 100.0
"""An edge that touches a flank of 170 mm radius along this length has cut 7 mm off it; less is a tight fit."""

CUT_EDGES: tuple[Edge, ...] = ("right", "left", "front", "back")
"""The sides of a field of view that may cut through a body, as the patient has them."""

_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
_SQUARE = np.ones((1, 3, 3), bool)
_EDGE = 1e-6
"""Cells on the edge of a hull belong to it, whatever rounding does."""


def outline_body(hu: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Finds the body on a grid with cells of about 4 mm in plane.

    The largest connected component of tissue that is thicker than 12 mm, the skin around it, and every pocket of air
    that it holds. A lung that the edge of the field of view has cut open is a pocket too.

    Args:
        hu: Hounsfield units, [slab y x].
        seen: Mask of measured cells, bool [slab y x].

    Returns:
        Mask of the body, bool [slab y x].
    """
    tissue = (hu > TISSUE_HU) & seen
    core = ndimage.binary_opening(tissue, _SQUARE)
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(core))
    if not count:
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == sizes.argmax()
    # A thin chest wall did not survive the opening, but it lies within the hull of what did; a table does not.
    body |= (hu > SKIN_HU) & seen & _hulls(body)
    body = ndimage.binary_dilation(body, _SQUARE, iterations=2, mask=(hu > SKIN_HU) & seen) | body
    return body | _pockets(hu, seen, body)


def _pockets(hu: np.ndarray, seen: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Air that the body holds: what lies in the hull of its tissue and has no way out to the room.

    An edge of the field of view that cuts a lung open is no way out. A lung may have one through a gap in a thin chest
    wall; its density distinguishes it from an armpit.
    """
    hull = _hulls(body)
    # Unmeasured cells must not join a lung to the room.
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(~body & seen & hull, _IN_PLANE))
    room = np.array(ndimage.binary_dilation(seen & ~body & ~hull, _IN_PLANE), bool)
    opened = np.zeros(count + 1, bool)
    opened[np.unique(labels[room])] = True
    size = np.bincount(labels.ravel(), minlength=count + 1)
    dense = np.bincount(labels[hu > AIR_HU], minlength=count + 1) / np.maximum(size, 1)
    inside = ~opened | (dense > 0.6)
    inside[0] = False
    return inside[labels]


def _hulls(mask: np.ndarray) -> np.ndarray:
    """The convex hull of every slab, [slab y x]."""
    return np.stack([_hull(plane) for plane in mask])


def _hull(plane: np.ndarray) -> np.ndarray:
    """The convex hull of a mask [y x]: the cells whose centres it holds."""
    rows = np.flatnonzero(plane.any(axis=1))
    if len(rows) < 2:
        return plane
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    every = np.arange(rows[0], rows[-1] + 1)
    # What lies in a hull, lies in each of its rows between the chains of corners on the left and on the right.
    low = np.interp(every, *_lower_chain(rows, first))
    high = -np.interp(every, *_lower_chain(rows, -last))
    columns = np.arange(plane.shape[1])
    filled = plane.copy()
    filled[every] |= (columns >= low[:, None] - _EDGE) & (columns <= high[:, None] + _EDGE)
    return filled


def _lower_chain(x: np.ndarray, y: np.ndarray) -> tuple[list[int], list[int]]:
    """Corners of the lower convex hull of points sorted by x (Andrew's monotone chain, 1979)."""
    xs: list[int] = []
    ys: list[int] = []
    for px, py in zip(x.tolist(), y.tolist()):
        while len(xs) > 1 and (xs[-1] - xs[-2]) * (py - ys[-2]) <= (ys[-1] - ys[-2]) * (px - xs[-2]):
            xs.pop()
            ys.pop()
        xs.append(px)
        ys.append(py)
    return xs, ys


def cut_edges(body: np.ndarray, seen: np.ndarray, spacing_mm: tuple[float, float, float]) -> dict[Edge, np.ndarray]:
    """In which slabs each edge of the field of view cuts the body: where it runs along the body for ``CUT_MM``.

    Args:
        body: Mask made by ``outline_body``, bool [slab y x]; x runs to the patient's left, y to the back.
        seen: Mask of measured cells, bool [slab y x].
        spacing_mm: Spacing of the grid in mm: slab, y, x.

    Returns:
        The cut slabs, bool [slab], for each edge.
    """
    padded = np.pad(seen, ((0, 0), (1, 1), (1, 1)))
    beyond: dict[Edge, np.ndarray] = {
        "front": padded[:, :-2, 1:-1],
        "back": padded[:, 2:, 1:-1],
        "right": padded[:, 1:-1, :-2],
        "left": padded[:, 1:-1, 2:],
    }
    found: dict[Edge, np.ndarray] = {}
    for edge, neighbour in beyond.items():
        step, cells = (spacing_mm[2], body.shape[2]) if edge in ("front", "back") else (spacing_mm[1], body.shape[1])
        found[edge] = (body & ~neighbour).sum(axis=(1, 2)) * step >= min(CUT_MM, 0.35 * cells * step)
    return found
