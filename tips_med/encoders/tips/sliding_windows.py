"""Slices on the grid of patches: how large they are made, and how large ones are covered by windows.

The authors segment zero-shot with windows of 448 px every 336 px (``TIPS_zeroshot_segmentation.ipynb``). They average
class probabilities; here the query is not known yet, so the unit embeddings are averaged, of which every cosine is
the average of the windows' cosines up to a common length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Encode = Callable[[Tensor], Tensor]
"""Pixels [n channel y x] to patches [n row col embedding]."""


def fitted_grid(y: int, x: int, side: int, patch: int) -> tuple[int, int]:
    """Rows and columns of patches that a slice of y by x pixels is resized to.

    A slice smaller than the model's grid is enlarged until its longer edge fills it; a larger one keeps its size, but
    for rounding to whole patches. The ratio of its edges is kept to within half a patch.

    Args:
        y: Pixels from front to back.
        x: Pixels from right to left.
        side: Patches along an edge of the model's grid.
        patch: Pixels along an edge of a patch.
    """
    scale = max(1.0, side * patch / max(y, x))
    return max(1, round(y * scale / patch)), max(1, round(x * scale / patch))


def window_starts(size: int, side: int, stride: int) -> list[int]:
    """Where windows of ``side`` begin that cover ``size``; the last one ends exactly at the end.

    All three count patches. The windows are those of the authors' ``predict_slide``.
    """
    if size <= side:
        return [0]
    steps = -(-(size - side) // stride)
    return [min(n * stride, size - side) for n in range(steps + 1)]


def encode_windows(encode: Encode, pixels: Tensor, side: int, stride: int, patch: int) -> Tensor:
    """Unit patch embeddings of slices of any size, [n row col embedding].

    Windows begin on whole patches, so that overlapping ones meet patch on patch; where they overlap, the mean of the
    unit embeddings is taken and made a unit vector again.

    Args:
        encode: The tower, for one window.
        pixels: [n channel y x]; y and x multiples of ``patch``.
        side: Patches along an edge of a window.
        stride: Patches from one window to the next.
        patch: Pixels along an edge of a patch.
    """
    rows, columns = (edge // patch for edge in pixels.shape[-2:])
    if rows <= side and columns <= side:
        return functional.normalize(encode(pixels), dim=-1)
    total: Tensor | None = None
    for top in window_starts(rows, side, stride):
        for left in window_starts(columns, side, stride):
            bottom, right = min(top + side, rows), min(left + side, columns)
            part = encode(pixels[..., top * patch : bottom * patch, left * patch : right * patch])
            if total is None:
                total = torch.zeros(len(pixels), rows, columns, part.shape[-1], dtype=part.dtype, device=part.device)
            total[:, top:bottom, left:right] += functional.normalize(part, dim=-1)
    if total is None:
        raise ValueError("a slice without patches")
    return functional.normalize(total, dim=-1)
