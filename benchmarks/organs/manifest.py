"""A manifest of organs, outlined in public scans, with what nobody knows of each of them.

    python -m benchmarks.organs.manifest DATA --out OUT [--hearts HEARTS]

DATA is the folder of the scans that the weights are made from (docs/training.md), with ``organs.nii.gz`` beside each
scan. HEARTS is what ``python -m benchmarks.organs.heart`` wrote. Outlines of organs are whole in their middle, and some
are cut short at an end; what may belong to an organ and nobody outlined goes to a mask that the manifest's column
``ignore`` names. What is written is a mask for each organ and scan, and
``OUT/manifest.csv`` with ``train`` and ``test``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.teach import scan_of
from tips_med.geometry import ras_affine_ijk
from tips_med.manifest import Row, read_instances, write_manifest
from tips_med.readers import read_scan
from tips_med.scan import Scan

TEST = (
    "LIDC-IDRI-0003", "4D-Lung-113", "NSCLC-RG-R01-001", "QIN-LSC-0064", "NLST-101287", "pyradiomics-lung2",
    "LIDC-IDRI-0314", "CRLM-CT-1006",
)  # fmt: skip
"""Never trained on; the shipped weights saw the body of the last one, without its organs."""

UPPER_CHEST = ("LungFCP-01-0001", "ACRIN-FLT-Breast_001-t1")
"""Scans that end above the abdomen."""

ABDOMINAL = ("liver", "spleen", "kidney", "stomach", "gallbladder")
SOFT_HU, BONE_HU, AIR_HU = (-30.0, 250.0), (120.0, 4000.0), (-2000.0, -700.0)


@dataclass(frozen=True)
class Cut:
    """When an outline counts as cut short at its upper or lower end, and what beyond may belong to the organ.

    Attributes:
        area_cm2: Smallest area of the last slice of an outline that is cut short.
        hu: Values that the organ has, in HU.
        beyond_mm: How far beyond the end it may reach.
        around_mm: How far to the sides of the last slice.
    """

    area_cm2: float
    hu: tuple[float, float]
    beyond_mm: float
    around_mm: float


CUTS = {
    "liver": Cut(20, SOFT_HU, 70, 40),
    "spleen": Cut(8, SOFT_HU, 50, 30),
    "left kidney": Cut(6, SOFT_HU, 40, 20),
    "right kidney": Cut(6, SOFT_HU, 40, 20),
    "stomach": Cut(8, (-1100.0, 250.0), 50, 40),
    "gallbladder": Cut(2, SOFT_HU, 20, 15),
    "descending aorta": Cut(0, (0.0, 500.0), 60, 35),
    "spine": Cut(0, BONE_HU, 60, 25),
    "airway": Cut(0, AIR_HU, 40, 25),
}


def patient_of(case: str) -> str:
    """The patient of a case: two scans of one patient differ behind the last hyphen."""
    twice = ("TCGA-LIHC-A3KF", "ACRIN-FLT-Breast_001", "elastix-lung")
    return next((patient for patient in twice if case.startswith(f"{patient}-")), case)


def organs_of(data: Path, case: str, scan: Scan, hearts: Path | None) -> dict[str, np.ndarray]:
    """Masks of the organs that somebody outlined in a case, bool [k j i], by phrase."""
    file = data / case / "organs.nii.gz"
    found: dict[str, np.ndarray] = {}
    if file.exists():
        labels = read_instances(file, scan)
        own = data / case / "organs.json"
        named = json.loads((own if own.exists() else data / "organs.json").read_text())
        found = _of_totalsegmentator(labels, named) if own.exists() else _of_project(labels, named)
    heart = hearts / case / "heart.nii.gz" if hearts is not None else None
    if heart is not None and heart.exists():
        found["heart"] = read_instances(heart, scan) > 0
    found = {phrase: mask for phrase, mask in found.items() if mask.any()}
    if "left kidney" in found and "right kidney" in found:
        found["kidney"] = found["left kidney"] | found["right kidney"]
    if "rib" in found and "spine" in found:
        found |= _sided(found["rib"], found["spine"], scan)
    if "airway" in found and (trachea := _trachea(found["airway"], scan)) is not None:
        found["trachea"] = trachea
    return found


def _of_project(labels: np.ndarray, numbers: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The label map of this project's data: bone is all bone, and only where it is outlined at all."""
    masks = {name.replace("_", " "): labels == number for name, number in numbers.items()}
    bone = masks.pop("bone")
    masks["rib"] = masks.pop("ribs")
    if bone.any():
        masks["bone"] = bone | masks["spine"] | masks["rib"]
    masks["body"] = labels > 0
    return masks


def _of_totalsegmentator(labels: np.ndarray, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The label map of TotalSegmentator's example, whose outlines are those of a model."""
    phrases = {"kidney_left": "left kidney", "kidney_right": "right kidney", "aorta": "descending aorta"}
    phrases |= {name: name for name in ("liver", "spleen", "stomach", "gallbladder")}
    phrases |= {"vertebrae": "spine", "rib": "rib"}
    masks: dict[str, np.ndarray] = {}
    for number, name in names.items():
        phrase = phrases.get(name) or phrases.get(name.partition("_")[0])
        if phrase is not None:
            masks[phrase] = masks.get(phrase, np.zeros(labels.shape, bool)) | (labels == int(number))
    return masks


def _sided(ribs: np.ndarray, spine: np.ndarray, scan: Scan) -> dict[str, np.ndarray]:
    """Ribs left and right of the spine of their slice."""
    x_mm = axis_mm(scan, 0)
    there = spine.any((1, 2))
    middle = np.array([(x_mm[None] * plane).sum() / max(plane.sum(), 1) for plane in spine])
    middle = np.interp(np.arange(len(spine)), np.flatnonzero(there), middle[there])
    left = x_mm[None, None, :] > middle[:, None, None]
    sides = {"left rib": ribs & left, "right rib": ribs & ~left}
    return {phrase: mask for phrase, mask in sides.items() if mask.any()}


def _trachea(airway: np.ndarray, scan: Scan) -> np.ndarray | None:
    """The airway above its fork: from the top down, all slices before the first that holds two of 20 mm2 or more."""
    found = np.zeros_like(airway)
    for k in np.argsort(-axis_mm(scan, 2)):
        parts: Any = ndimage.label(airway[k])
        sizes = np.bincount(parts[0].ravel())[1:] * _pixel_mm2(scan)
        if (sizes > 20).sum() > 1:
            return found if found.any() else None
        found[k] = airway[k]
    return None


def unknown_of(phrase: str, organs: Mapping[str, np.ndarray], scan: Scan) -> np.ndarray:
    """Voxels where nobody knows whether they belong to an organ, bool [k j i]."""
    mask, hu = organs[phrase], scan.voxels
    named = np.any([one for name, one in organs.items() if name not in ("body", "bone")], axis=0)
    unknown = np.zeros_like(mask)
    for part in ("left kidney", "right kidney") if phrase == "kidney" else (phrase,):
        if part in CUTS:
            unknown |= _beyond(organs[part], hu, CUTS[part], scan)
    if phrase in ("rib", "left rib", "right rib", "spine"):
        unnamed = (hu > BONE_HU[0]) & ~organs.get("bone", named)
        unknown |= unnamed & _near(mask, _spacing(scan), 15) if phrase == "spine" else unnamed
    if phrase == "airway":
        unknown |= (hu < AIR_HU[1]) & _near(mask, _spacing(scan), 20)
    if phrase == "trachea":
        # Where the trachea ends and the main bronchi begin is a matter of some millimetres.
        z_mm = axis_mm(scan, 2)
        own = z_mm[mask.any((1, 2))]
        fork = (z_mm > own.min() - 15) & (z_mm < own.min() + 10)
        above = _beyond(mask, hu, CUTS["airway"], scan) & (z_mm > own.max())[:, None, None]
        return (organs["airway"] & fork[:, None, None]) | (above & ~named)
    return unknown & ~named


def _beyond(mask: np.ndarray, hu: np.ndarray, cut: Cut, scan: Scan) -> np.ndarray:
    """What may belong to an organ beyond the ends at which its outline is cut short."""
    found = np.zeros_like(mask)
    z_mm, slices = axis_mm(scan, 2), np.flatnonzero(mask.any((1, 2)))
    for end, step in ((slices[0], -1), (slices[-1], 1)):
        if mask[end].sum() * _pixel_mm2(scan) / 100 < cut.area_cm2:
            continue
        footprint = _near(mask[end], _spacing(scan)[1:], cut.around_mm)
        k = end + step
        while 0 <= k < len(mask) and abs(z_mm[k] - z_mm[end]) <= cut.beyond_mm:
            found[k] |= footprint & (hu[k] > cut.hu[0]) & (hu[k] < cut.hu[1])
            k += step
    return found


def _near(mask: np.ndarray, spacing: tuple[float, ...], mm: float) -> np.ndarray:
    """What lies within a distance of a mask."""
    away_mm: Any = ndimage.distance_transform_edt(~mask, spacing)
    return away_mm <= mm


def axis_mm(scan: Scan, axis: int) -> np.ndarray:
    """LPS coordinates of voxel centres of an axial scan along x (0), y (1) or z (2), in mm."""
    column = 2 - axis
    return scan.lps_from_kji[axis, 3] + scan.lps_from_kji[axis, column] * np.arange(scan.shape[column])


def _spacing(scan: Scan) -> tuple[float, float, float]:
    """Distances of slices, rows and columns in mm."""
    k, j, i = (float(np.linalg.norm(scan.lps_from_kji[:3, n])) for n in range(3))
    return k, j, i


def _pixel_mm2(scan: Scan) -> float:
    return _spacing(scan)[1] * _spacing(scan)[2]


def write_nifti(path: Path, array: np.ndarray, lps_from_kji: np.ndarray) -> Path:
    """Writes an array [k j i] as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), ras_affine_ijk(lps_from_kji)), path)
    return path


def cases_of(data: Path, hearts: Path | None) -> list[str]:
    """The cases in which an organ is outlined."""
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    outlined = [(folder / "organs.nii.gz", hearts / folder.name if hearts else None) for folder in folders]
    return [organs.parent.name for organs, heart in outlined if organs.exists() or (heart and heart.exists())]


def rows_of(data: Path, case: str, out: Path, hearts: Path | None) -> Iterator[Row]:
    """The rows of a case; writes its masks."""
    scan = read_scan(scan_of(data, case))
    organs = organs_of(data, case, scan, hearts)
    path, patient, split = scan_of(data, case), patient_of(case), "test" if case in TEST else "train"
    for phrase, mask in organs.items():
        name = phrase.replace(" ", "_")
        unknown = unknown_of(phrase, organs, scan)
        outline = write_nifti(out / case / f"{name}.nii.gz", mask.astype(np.uint8), scan.lps_from_kji)
        ignore = None
        if unknown.any():
            ignore = write_nifti(out / case / f"{name}_ignore.nii.gz", unknown.astype(np.uint8), scan.lps_from_kji)
        yield Row(path, phrase, outline, patient=patient, split=split, ignore=ignore)
    if case in UPPER_CHEST:
        for phrase in ABDOMINAL:
            yield Row(path, phrase, label="absent", patient=patient, split=split)


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """``data``, ``out`` and ``hearts`` of a command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hearts", type=Path, default=None)
    return parser


def main() -> None:
    """Runs it."""
    chosen = argument_parser(__doc__).parse_args()
    rows = []
    for case in cases_of(chosen.data, chosen.hearts):
        own = list(rows_of(chosen.data, case, chosen.out, chosen.hearts))
        print(case, ", ".join(f"{row.phrase}{' *' if row.ignore else ''}" for row in own), flush=True)
        rows += own
    print(write_manifest(rows, chosen.out / "manifest.csv"))


if __name__ == "__main__":
    main()
