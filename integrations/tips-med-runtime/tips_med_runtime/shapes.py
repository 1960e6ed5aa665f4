"""Names of arrays, as tips_med has them; here they are plain arrays.

=========  ==============================================================
axis       meaning
=========  ==============================================================
k, j, i    slice, row and column of a scan (``voxels[k, j, i]``)
slab       a position along the body on the working grid, feet to head
y, x       of a cell; y runs to the back, x to the patient's left
=========  ==============================================================
"""

from __future__ import annotations

import numpy as np

Affine = np.ndarray
"""Maps indices, as a column with a 1 appended, into a frame: float64, 4 x 4."""

Points = np.ndarray
Voxels = np.ndarray
Mask = np.ndarray
Labels = np.ndarray
Heat = np.ndarray
