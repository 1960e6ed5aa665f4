"""Colours of instances, the same in every viewer."""

from __future__ import annotations

COLOURS_RGB = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Told apart by any kind of colour vision (Okabe and Ito, Color Universal Design, 2008)."""


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of an instance, 0 to 255.

    Args:
        number: Its number, from 1.
    """
    return COLOURS_RGB[(number - 1) % len(COLOURS_RGB)]
