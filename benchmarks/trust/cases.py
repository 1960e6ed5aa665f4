"""Scans and what a reader reported in them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.presence_manifest import scan_of
from tips_med.grounding import encode
from tips_med.model import GroundingModel
from tips_med.readers import read_scan
from tips_med.scan import Provenance, Scan

HELD_OUT = (
    "LIDC-IDRI-0003",
    "QIN-LSC-0064",
    "LIDC-IDRI-0314",
    "NSCLC-RG-R01-001",
    "4D-Lung-113",
    "pyradiomics-lung2",
    "NLST-101287",
)
"""Patients whose scans the shipped weights were not trained on."""


@dataclass(frozen=True)
class Known:
    """A finding of the reader.

    Attributes:
        finding: Finding in words.
        side: ``right`` or ``left``.
        there: Whether it is.
        centre_lps: Position, LPS in mm; None where the reader gave none.
        radius_mm: Half its size.
    """

    finding: str
    side: str
    there: bool
    centre_lps: np.ndarray | None
    radius_mm: float


@dataclass(frozen=True, eq=False)
class TrustCase:
    """A scan and what is known of it.

    Attributes:
        name: Name of the case.
        scan: The scan, CT.
        lungs: 1 right, 2 left on its grid; None where nobody outlined them.
        known: Findings of the reader.
        midline_lps: x of the body's middle, by eye from the lungs or the whole scan.
    """

    name: str
    scan: Scan
    lungs: np.ndarray | None
    known: tuple[Known, ...]
    midline_lps: float


def read_case(data: Path, name: str, model: GroundingModel) -> TrustCase:
    scan = read_scan(scan_of(data / name))
    scan = replace(scan, modality="CT", unit="HU", provenance=Provenance("array"))
    file = data / name / "lungs.nii.gz"
    lungs = np.nan_to_num(read_scan(file).voxels).round().astype(np.uint8) if file.exists() else None
    known = []
    with (data / "presence.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["case"] == name and row["state"] in ("present", "absent") and row["side"] in ("left", "right"):
                centre = [float(c) for c in row["approx_centre_lps_mm"].split()]
                sizes = [float(s) for s in row["approx_size_mm"].split("x") if s.strip()]
                place = np.array(centre) if len(centre) == 3 else None
                known.append(
                    Known(row["finding"], row["side"], row["state"] == "present", place, max(sizes or [20.0]) / 2)
                )
    body = encode(scan, model).body
    return TrustCase(name, scan, lungs, tuple(known), float(np.median(body.midline.x_mm)))
