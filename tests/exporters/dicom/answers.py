"""Series on disk in many orientations, and answers about them whose place in the patient is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.exporters.patient import ask
from tests.readers.awkward.geometry_cases import OBLIQUE
from tests.readers.awkward.multiframe_cases import ENHANCED_CT, ENHANCED_MR, merge
from tests.readers.awkward.phantom import CENTRE
from tests.readers.awkward.writing import MR, make_series, write_file, write_series
from tips_med.grounding import Decision, Grounding, Instance
from tips_med.readers import read_scan
from tips_med.scan import Scan

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "rows to the right": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "columns to the front": (1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": OBLIQUE,
}
BALLS_MM = ((CENTRE + (5.0, -4.0, 4.0), 5.0), (CENTRE + (-7.0, 6.0, -7.0), 3.5))
"""Centres (LPS) and radii of what the answers find."""


def shuffled_series(folder: Path, **plan: object) -> Path:
    """A series whose files lie in no order."""
    slices = make_series(**plan)
    order = np.random.default_rng(3).permutation(len(slices))
    return write_series(folder, [slices[n] for n in order])


def multiframe(folder: Path, modality: str = "CT") -> Path:
    """An enhanced object whose frames run from head to feet."""
    slices = make_series() if modality == "CT" else make_series(modality="MR", sop_class=MR)
    return write_file(folder / "multi.dcm", merge(slices[::-1], ENHANCED_CT if modality == "CT" else ENHANCED_MR))


def points_of(lps_from_index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The place of every cell, [k j i 3]."""
    index = np.indices(shape).reshape(3, -1).T
    return (index @ lps_from_index[:3, :3].T + lps_from_index[:3, 3]).reshape(*shape, 3)


def in_ball(points: np.ndarray, ball: int) -> np.ndarray:
    """Which points [... 3] lie in a ball."""
    centre, radius = BALLS_MM[ball]
    return np.linalg.norm(points - centre, axis=-1) < radius


def answer(scan: Scan, text: str = "ground glass opacity in the left lung", found: int = 2) -> Grounding:
    """An answer that finds the first balls, on whatever grid."""
    points = points_of(scan.lps_from_kji, scan.shape)
    labels = np.zeros(scan.shape, np.uint8)
    instances = []
    for n in range(found):
        inside = in_ball(points, n)
        labels[inside] = n + 1
        k = np.flatnonzero(inside.any(axis=(1, 2)))
        first, last = int(k[0]), int(k[-1])
        x, y, z = (float(c) for c in BALLS_MM[n][0])
        uids = scan.provenance.instance_uids[first : last + 1]
        instances.append(
            Instance(
                label=n + 1,
                side="left" if n == 0 else "right",
                region="upper third of the left lung",
                volume_ml=1.25 - n / 2,
                long_axis_mm=12.5,
                slices=(first, last),
                instance_uids=uids,
                mean_hu=-512.3,
                score=0.9,
                peak_lps=(x, y, z),
                centroid_lps=(x, y, z),
            )
        )
    return Grounding(
        query=ask(text),
        scan=scan,
        presence=Decision("present", 0.88, 0.93) if found else Decision("absent", 0.02, 0.04),
        heat=np.zeros((2, 2, 2), np.float32),
        lps_from_heat=np.eye(4),
        labels=labels,
        instances=tuple(instances),
        peak_lps=tuple(float(c) for c in CENTRE),  # type: ignore[arg-type]
        token_heat={},
        sentence="The answer in words.",
        model="compact chest CT (0123456789ab)",
    )


def answered(folder: Path, found: int = 2, **plan: object) -> tuple[Path, Grounding]:
    """A series, and an answer about it."""
    path = shuffled_series(folder / "series", **plan)
    return path, answer(read_scan(path), found=found)
