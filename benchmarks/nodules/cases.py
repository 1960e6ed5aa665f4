"""Scans with nodules whose places and sizes are known: real ones, and procedural torsos that nobody trained on."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from scipy import ndimage

from benchmarks.presence_manifest import scan_of
from tips_med.geometry import voxel_volume_mm3
from tips_med.metrics import Outlines, Spheres
from tips_med.readers import read_scan
from tips_med.scan import Provenance, Scan
from tips_med.shapes import Affine
from tips_med.synthesis.acquisition import acquire
from tips_med.synthesis.deform import Deformation, sample_deformed_crop
from tips_med.synthesis.findings.canvas import Canvas
from tips_med.synthesis.findings.nodules import paint_nodule
from tips_med.synthesis.phantom import make_phantom

TRAINED_ON = ("LIDC-IDRI-0001",)
"""Of these patients, those that the weights were trained on (``radiology_configs/pretrain_chest_ct.yaml``)."""

FOUR_READERS = ("LIDC-IDRI-0001", "LIDC-IDRI-0003", "LIDC-IDRI-0314")
"""Scans in which four readers outlined every nodule of 3 mm and more: only here a false mark is false for sure."""

ONE_LESION = {"NSCLC-RG-R01-001": 1, "QIN-LSC-0064": 5, "pyradiomics-lung2": 1, "4D-Lung-113": 1}
"""Held-out scans in which one tumour is outlined and the rest is unlabelled, with the number of outlines that agree."""

NLST = "NLST-101287"
NLST_BOX_LPS = ((-7.0, -6.0, 1174.0), (15.0, 12.0, 1188.0))
"""The screening scan's cancer is known by a box alone."""

MIN_VOLUME_ML = 0.05
"""Outlined components smaller than this are fragments of a consensus."""

NODULE_TO_MM = 30.0
"""What is larger is a mass, and excluded where nodules are queried (Hansell 2008)."""

TORSOS = (0, 1, 2, 3, 7, 8, 9, 10, 11)
"""Numbers of the torsos; 4 to 6 are left out for the time that they take alone."""

SEED = 3_000_000
"""The first torso's seed, far from the six torsos of the training (0 to 5)."""

PAINTED_MM = ((4.5, 6.0), (4.5, 6.0), (6.0, 10.0), (6.0, 10.0), (10.0, 20.0), (20.0, 30.0))
"""Ranges of the diameters of the nodules of each torso."""


@dataclass(frozen=True, eq=False)
class Case:
    """One scan.

    Attributes:
        name: Name, which is also the patient.
        group: ``four readers``, ``one lesion`` or ``painted``.
        trained_on: Whether the weights were trained on this patient.
        read: Gives the scan, its nodules and masses, and what is neither hit nor false mark.
    """

    name: str
    group: str
    trained_on: bool
    read: Callable[[], tuple[Scan, Outlines | Spheres, tuple[Outlines | Spheres, ...]]]


def real_cases(data: Path) -> Iterator[Case]:
    """The real scans with outlined nodules.

    Args:
        data: Folder with a folder for each case.
    """
    for name in FOUR_READERS:
        yield Case(name, "four readers", name in TRAINED_ON, partial(_outlined, data, name, 3))
    yield Case(NLST, "one lesion", NLST in TRAINED_ON, partial(_boxed, data))
    for name, votes in ONE_LESION.items():
        yield Case(name, "one lesion", name in TRAINED_ON, partial(_outlined, data, name, votes))


def painted_cases(numbers: Sequence[int] = TORSOS) -> Iterator[Case]:
    """Procedural torsos with painted nodules of every size."""
    for n in numbers:
        yield Case(f"torso {n}", "painted", False, partial(_painted, n))


def _read(data: Path, name: str) -> Scan:
    return replace(read_scan(scan_of(data / name)), modality="CT", unit="HU")


def _outlined(data: Path, name: str, votes: int) -> tuple[Scan, Outlines, tuple[Outlines | Spheres, ...]]:
    """Components on which enough readers agree; what fewer of them outlined is excluded, and elsewhere what one saw."""
    marked = read_scan(data / name / "nodule_votes.nii.gz")
    given = np.nan_to_num(marked.voxels).round().astype(np.uint8)
    pieces, number = cast("tuple[np.ndarray, int]", ndimage.label(given > 0, np.ones((3, 3, 3))))
    agreed = np.where(given >= votes, pieces, 0)
    ml = np.bincount(agreed.ravel(), minlength=number + 1) * voxel_volume_mm3(marked.lps_from_kji) / 1000
    truth = np.where(ml[agreed] >= MIN_VOLUME_ML, agreed, 0).astype(np.uint8)
    fringe = Outlines((given > 0) & (truth == 0), marked.lps_from_kji)
    seen = () if name in FOUR_READERS else _seen(data, name)
    return _read(data, name), Outlines(truth, marked.lps_from_kji), (fringe, *seen)


def _boxed(data: Path) -> tuple[Scan, Spheres, tuple[Outlines | Spheres, ...]]:
    low, high = np.array(NLST_BOX_LPS)
    truth = Spheres((low + high)[None] / 2, np.array([(high - low).mean()]))
    return _read(data, NLST), truth, _seen(data, NLST)


def _seen(data: Path, name: str) -> tuple[Spheres, ...]:
    """What one careful reader saw and nobody outlined: nodules and masses, present or unsure, at every place."""
    found = []
    with (data / "presence.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.reader(lines):
            if row[0] != name or row[1] not in ("nodule", "mass") or row[3] == "absent":
                continue
            sizes = [float(n) for n in re.findall(r"\d+\.?\d*", row[6])]
            places = [[float(n) for n in row[5].split()]] if row[5] else []
            note = re.sub(r"\(.*?\)", "", row[7])  # in parentheses stands what is something else
            places += [[float(n) for n in one] for one in re.findall(r"x (-?\d+) y (-?\d+) z (-?\d+)", note)]
            found += [(place, max(sizes, default=10.0)) for place in places]
    return (Spheres(np.array([one for one, _ in found]), np.array([mm for _, mm in found])),) if found else ()


def _painted(number: int) -> tuple[Scan, Outlines, tuple[Outlines | Spheres, ...]]:
    rng = np.random.default_rng([SEED, number])
    body = make_phantom(SEED + number, (2.5, 2.0, 2.0), below_mm=60.0)  # lungs, and little of the belly
    crop = sample_deformed_crop(body, None, Deformation(), rng)
    assert crop.lungs is not None  # a phantom's are labelled
    labels = np.zeros(crop.volume_hu.shape, np.uint8)
    taken = (crop.lesions > 0) | crop.ignored
    canvas = Canvas(crop.volume_hu, crop.lungs, body.spacing_mm, rng, taken, crop.organs)
    for label, (low, high) in enumerate(reversed(PAINTED_MM), start=1):  # the large ones first: they need more room
        made = paint_nodule(canvas, diameter_mm=float(rng.uniform(low, high)), kind="solid" if high <= 10 else None)
        if made is not None:
            labels[made.mask] = label
    volume = acquire(crop.volume_hu, body.spacing_mm, rng, 0.7)
    return (
        Scan(
            np.rint(volume).astype(np.float32),
            _affine(body.spacing_mm, crop.offset_mm),
            "CT",
            "HU",
            Provenance("array"),
        ),
        Outlines(labels, _affine(body.spacing_mm, crop.offset_mm)),
        (),
    )


def _affine(spacing_mm: tuple[float, float, float], offset_mm: tuple[float, float]) -> Affine:
    """From (slab, y, x) to LPS in mm, as ``pipelines.paint`` places its scans."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
    affine[1, 3], affine[0, 3], affine[3, 3] = *offset_mm, 1.0
    return affine
