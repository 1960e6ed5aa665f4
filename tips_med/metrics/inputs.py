"""What metrics take: arrays and tensors, single cases and batches. What cannot be meant is refused, not counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from tips_med.errors import TipsMedError

ArrayLike = np.ndarray | Tensor
"""A mask or map of one case [k j i], or of a batch [b c k j i], of which each item and channel is a case."""


class MetricInputError(TipsMedError, ValueError):
    """Masks or maps that a metric cannot measure rightly."""

    code = "metric-input"


def as_array(values: object) -> np.ndarray:
    """The values as an array, wherever they lie."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_mask(values: ArrayLike, name: str = "mask") -> np.ndarray:
    """A mask as bool.

    Args:
        values: Mask of any shape: bool, or numbers that are 0 and 1, or 0 and 255.
        name: Name of the mask, for messages.

    Raises:
        MetricInputError: It holds other numbers: probabilities, logits or labels.
    """
    array = as_array(values)
    if array.dtype == bool:
        return array
    highest = _range(array, name)[1]
    if highest in (0, 1, 255) and bool(((array == 0) | (array == highest)).all()):
        return array != 0
    low = float(array.min())
    fractions = array.dtype.kind == "f" and bool((array != np.rint(array)).any())
    raise MetricInputError(
        f"the {name} holds {'fractions' if fractions else 'numbers'} from {low:g} to {highest:g}",
        expected="a mask: bool, or 0 and 1, or 0 and 255",
        remedy="cut it at a threshold first" if fractions or low < 0 else f"pass {name} > 0, or one label at a time",
    )


def as_instances(values: ArrayLike, name: str = "truth") -> np.ndarray:
    """Instance labels as integers, 0 outside; a bool mask is one instance.

    Args:
        values: Labels of any shape, bool or whole numbers from 0 on.
        name: Name of the labels, for messages.

    Raises:
        MetricInputError: It holds other numbers.
    """
    array = as_array(values)
    if array.dtype == bool:
        return array.astype(np.uint8)
    low, high = _range(array, name)
    if low < 0 or (array.dtype.kind == "f" and bool((array != np.rint(array)).any())):
        raise MetricInputError(
            f"the {name} holds values from {low:g} to {high:g}", expected="labels of instances: whole numbers from 0 on"
        )
    return array if array.dtype.kind in "iu" else array.astype(np.int64)


def as_heat(values: ArrayLike, name: str = "map", probability: bool = False) -> np.ndarray:
    """A map as floats; NaN where nothing was seen.

    Args:
        values: Map of any shape.
        name: Name of the map, for messages.
        probability: Whether values have to be 0 to 1.

    Raises:
        MetricInputError: They are not.
    """
    array = as_array(values)
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    known = array[np.isfinite(array)] if probability else array[:0]
    if known.size and not (known.min() >= 0 and known.max() <= 1):
        raise MetricInputError(
            f"the {name} holds values from {known.min():g} to {known.max():g}",
            expected="probabilities, 0 to 1",
            remedy="apply the sigmoid to logits first",
        )
    return array


def split_cases(
    patient: str | Sequence[str | None] | None, **arrays: np.ndarray
) -> Iterator[tuple[str | None, list[np.ndarray]]]:
    """The cases of a batch, one by one: every item and every channel of it.

    Args:
        patient: Patient of all cases, or one for each item of the batch.
        arrays: Arrays of one shape, [k j i] or with more axes before, by their names for messages.

    Yields:
        The patient of a case, and its arrays [k j i].

    Raises:
        MetricInputError: Shapes differ, an axis is missing, or there is not one patient for each item.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    shape = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1:
        text = " and the ".join(f"{name} is {one}" for name, one in shapes.items())
        raise MetricInputError(f"the {text}", expected="one grid: the same shape, batch and channels included")
    if len(shape) < 3:
        raise MetricInputError(
            f"the {next(iter(shapes))} is {shape}",
            expected="three axes [k j i], or a batch [b c k j i]",
            remedy="give a single slice an axis of length 1 (mask[None])",
        )
    each = None if patient is None or isinstance(patient, str) else list(patient)
    if each is not None and (len(shape) == 3 or len(each) != shape[0]):
        raise MetricInputError(
            f"{len(each)} patients for arrays of shape {shape}", expected="one patient, or one for each item of a batch"
        )
    for at in np.ndindex(*shape[:-3]):
        who = each[at[0]] if each is not None else patient if isinstance(patient, str) else None
        yield who, [array[at] for array in arrays.values()]


def one_case(mask: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mask and truth of a single case as bool [k j i], for functions that give one number.

    Raises:
        MetricInputError: They are no masks of one grid, or a batch.
    """
    own, other = as_mask(mask), as_mask(truth, "truth")
    if own.ndim > 3 and own.shape == other.shape:
        raise MetricInputError(
            f"the mask is {own.shape}", expected="one case [k j i]", remedy="a metric (GlobalDice) takes batches"
        )
    ((_, (own, other)),) = split_cases(None, mask=own, truth=other)
    return own, other


def box_of(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds a bool mask; None for an empty one. A finding is a small part of a scan."""
    places = ndimage.find_objects(mask.view(np.uint8))
    return places[0] if places else None


def _range(array: np.ndarray, name: str) -> tuple[float, float]:
    if array.dtype.kind not in "iuf":
        raise MetricInputError(f"the {name} is of {array.dtype}", expected="bool or numbers")
    if not array.size:
        return 0.0, 0.0
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise MetricInputError(f"the {name} holds values that are not finite", expected="a mask")
    return low, high
