"""Array aliases: every axis is named once, here.

=========  ==============================================================
axis       meaning
=========  ==============================================================
k, j, i    slice, row and column of a scan (``voxels[k, j, i]``)
slab       a position along the body on the working grid, feet to head
row, col   of a patch; rows run to the back, columns to the patient's left
y, x       of a fine cell, in the same directions
token      a word of the query
=========  ==============================================================

``jaxtyping`` checks them with beartype while the tests run (see ``tests/conftest.py``); without it, which is how the
package is usually installed, they are plain arrays and tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int8, UInt8, UInt16
else:
    try:
        from jaxtyping import Bool, Float, Float32, Float64, Int8, UInt8, UInt16
    except ModuleNotFoundError:

        class _Plain:
            """Stands in for jaxtyping: ``Float[Array, "axes"]`` is ``Array``."""

            def __class_getitem__(cls, array_and_axes: tuple[Any, str]) -> Any:
                return array_and_axes[0]

        Bool = Float = Float32 = Float64 = Int8 = UInt8 = UInt16 = _Plain

Affine = Float64[np.ndarray, "4 4"]
"""Maps indices (or points), as a column with a 1 appended, into a frame; ``lps_from_kji`` maps (k, j, i, 1)."""

Points = Float64[np.ndarray, "n 3"]
Voxels = Float32[np.ndarray, "k j i"]
Mask = Bool[np.ndarray, "k j i"]
Labels = UInt8[np.ndarray, "k j i"]
Instances = UInt16[np.ndarray, "k j i"]
"""Labels of the instances of one finding, from 1; 0 outside."""
Heat = Float32[np.ndarray, "slab y x"]
Profile = Float[np.ndarray, " k"]
Slices = Bool[np.ndarray, " k"]

SlabPixels = Float32[Tensor, "slab channel y x"]
Patches = Float[Tensor, "slab row col embedding"]
Fine = Float[Tensor, "slab y x feature"]
QuantizedFine = Int8[Tensor, "slab y x feature"]
FineStep = Float32[Tensor, "slab feature"]
Tokens = Float[Tensor, "token embedding"]
Pooled = Float[Tensor, "1 embedding"]
