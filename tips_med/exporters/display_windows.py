"""Display windows: which grey values a finding is read in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tips_med.query import Query
from tips_med.scan import Scan


@dataclass(frozen=True)
class Window:
    """A display window, in the scan's unit, as radiologists name it."""

    name: str
    width: float
    level: float

    @property
    def limits(self) -> tuple[float, float]:
        """The values shown black and white."""
        return self.level - self.width / 2, self.level + self.width / 2

    def __str__(self) -> str:
        return f"W {self.width:.4g} L {self.level:.4g}".replace("-", "\N{MINUS SIGN}")


LUNG = Window("lung window", 1500.0, -600.0)
SOFT_TISSUE = Window("soft-tissue window", 400.0, 40.0)
BONE = Window("bone window", 1800.0, 400.0)

_AROUND_THE_LUNG = (None, "thorax", "hemithorax", "pleura")
"""Structures in which a finding of the lung is still read in the lung window."""


def window_for(query: Query, scan: Scan) -> Window:
    """The window of a finding on CT (``Term.window``); of another modality, the middle 98% of the values."""
    if scan.modality != "CT":
        return _percentile_window(scan)
    finding = query.finding.window if query.finding else None
    structure = query.structure.window if query.structure else None
    if "bone" in (finding, structure):
        return BONE
    in_lung = structure == "lung" and (query.finding is None or finding in ("lung", "organ"))
    name = query.structure.id if query.structure else None
    if in_lung or (name in _AROUND_THE_LUNG and finding == "lung"):
        return LUNG
    return SOFT_TISSUE


def _percentile_window(scan: Scan) -> Window:
    values = scan.voxels[:: max(1, scan.shape[0] // 32), ::4, ::4]
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    return Window(f"{scan.modality}, 1st to 99th percentile", max(float(high - low), 1e-6), float(low + high) / 2)
