# Copied from tips_med/grounding/modality.py by copies.py: change it there.
"""Which kind of scan it is, and whether a model was trained on that kind."""

from __future__ import annotations

import numpy as np

from tips_med_runtime.scan import Scan


def looks_like_hounsfield(scan: Scan) -> bool:
    """True when a scan holds air near -1000 and soft tissue near 0 to 100, as every CT of a body does."""
    measured = np.flatnonzero(np.isfinite(scan.voxels[:, ::8, ::8]).any(axis=(1, 2)))
    values = scan.voxels[measured[:: max(1, len(measured) // 16)], ::4, ::4]
    values = values[np.isfinite(values)]
    if not values.size:
        return False
    air, tissue = (values < -800).mean(), ((values > -200) & (values < 200)).mean()
    return bool(
        air > 0.01 and tissue > 0.05 and np.percentile(values, 99.9) < 4096 and np.percentile(values, 0.1) > -3100
    )
