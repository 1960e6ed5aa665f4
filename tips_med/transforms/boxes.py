"""Boxes cut out of images: filled up where they leave the image, and put back by ``inverse``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.utils.enums import TraceKeys

from tips_med.errors import ReadError
from tips_med.geometry import RAS_FROM_LPS, index_from_crop
from tips_med.transforms.tensors import lps_of, placed, shape_of, triple, with_place


def unseen(data: torch.Tensor) -> float | int | bool:
    """The value of unknown cells: NaN (not measured) in numbers, 0 in labels and masks."""
    return float("nan") if data.is_floating_point() else 0


class Boxes(InvertibleTransform):
    """Cuts a box out of an image and remembers it; the base of all transforms that crop.

    ``inverse`` puts a box back into an image of the size that it was cut from. What lies outside is NaN (not measured)
    in numbers, 0 in labels and masks.
    """

    def cut(self, image: torch.Tensor, start: Sequence[int], size: Sequence[int], outside: float = 0.0) -> MetaTensor:
        """A box of an image.

        Args:
            image: Image, [channel, three axes].
            start: Index of the first cell of the box along the three axes; may be negative.
            size: Number of cells along the three axes; may reach beyond the image.
            outside: Value of cells outside the image.

        Returns:
            The box, [channel, size], with its own affine.
        """
        image = with_place(image)
        lps = lps_of(image)
        data = image.as_tensor()
        shape = shape_of(data)
        inner, outer = _overlap(start, size, shape)
        part = data[(slice(None), *inner)]
        if tuple(part.shape[1:]) != tuple(size):
            whole = torch.full((data.shape[0], *size), outside, dtype=data.dtype, device=data.device)
            whole[(slice(None), *outer)] = part
            part = whole
        made = placed(part, lps @ index_from_crop(triple(start)), image)
        # The affine as it was, for adding and subtracting a start does not always give the same number again.
        extra = {"start": [int(n) for n in start], "affine": (RAS_FROM_LPS @ lps).tolist()}
        return self.push_transform(made, orig_size=shape, extra_info=extra)

    def put_back(self, image: torch.Tensor) -> MetaTensor:
        """Undoes the last box that this transform cut."""
        image = with_place(image)
        applied = self.pop_transform(image)
        if not applied[TraceKeys.DO_TRANSFORM]:
            return image
        extra, shape = applied[TraceKeys.EXTRA_INFO], triple(applied[TraceKeys.ORIG_SIZE])
        data = image.as_tensor()
        inner, outer = _overlap(extra["start"], shape_of(data), shape)
        whole = torch.full((data.shape[0], *shape), unseen(data), dtype=data.dtype, device=data.device)
        whole[(slice(None), *inner)] = data[(slice(None), *outer)]
        return placed(whole, RAS_FROM_LPS @ np.array(extra["affine"], np.float64), image)


def same_shape(images: Sequence[torch.Tensor]) -> tuple[int, int, int]:
    """The shape that images have in common.

    Raises:
        ReadError: ``grid`` when they have none.
    """
    shapes = {tuple(image.shape[1:]) for image in images}
    if len(shapes) != 1:
        raise ReadError(
            f"images and masks of shapes {', '.join(str(shape) for shape in sorted(shapes))} are to be cut together",
            expected="one grid",
            remedy="bring them onto the same grid first",
            code="grid",
        )
    return triple(shapes.pop())


def _overlap(
    start: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a box and an image meet: in the image, and in the box."""
    low = [min(max(0, s), n) for s, n in zip(start, shape)]
    high = [max(a, min(s + m, n)) for a, s, m, n in zip(low, start, size, shape)]
    inner = tuple(slice(a, b) for a, b in zip(low, high))
    outer = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start))
    return inner, outer
