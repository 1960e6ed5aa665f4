"""Turns what a reader reported in the real scans (presence.csv) into a manifest, for ``tips-med calibrate``.

    python -m benchmarks.presence_manifest DATA --out runs/presence.csv

``DATA`` is a folder of scans, one a case, with ``presence.csv`` beside them: its columns case, finding, side and state
have what one careful reader reported. What the reader was not sure of is left out. Nodules and masses that were
outlined in a case that ``pretrain_chest_ct`` holds out have that outline as their mask (written beside the manifest):
where a map is cut is fitted on it, too.
"""

from __future__ import annotations

import argparse
import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import ndimage

from benchmarks.organs.manifest import write_nifti
from tips_med.configs import config_path
from tips_med.geometry import transform_points
from tips_med.manifest import Row, write_manifest
from tips_med.readers import read_scan

PLEURAL = ("pleural effusion", "pneumothorax")
OUTLINED = ("nodule", "mass")
NEAR_MM = 20.0
"""How far an outline may be from the centre that the reader gave, by its nearest voxel."""


def rows(data: Path, masks: Path | None = None) -> list[Row]:
    """A row for every finding and side that the reader called present or absent.

    Args:
        data: Folder of scans, with ``presence.csv``.
        masks: Folder for the masks of what was outlined; no row has one when None.
    """
    found = []
    with (data / "presence.csv").open(newline="", encoding="utf-8") as file:
        for line, one in enumerate(csv.DictReader(file), start=2):
            if one["state"] not in ("present", "absent") or one["side"] not in ("left", "right"):
                continue
            where = f"{one['side']} {one['finding']}" if one["finding"] in PLEURAL else None
            file_of_mask = masks and masks / f"{one['case']}-{one['finding']}-{one['side']}.nii.gz"
            outline = outline_of(data, one) if masks else None
            if file_of_mask and outline is not None:
                write_nifti(file_of_mask, outline.astype(np.uint8), votes_of(data, one["case"])[1])
            found.append(
                Row(
                    mask=file_of_mask if outline is not None else None,
                    scan=scan_of(data / one["case"]),
                    phrase=where or f"{one['finding']} in the {one['side']} lung",
                    label=one["state"],  # pyright: ignore[reportArgumentType]
                    patient=re.sub(r"(-t\d|-acq\d)$", "", one["case"]),
                    split="test",
                    line=line,
                )
            )
    return found


def outline_of(data: Path, one: dict[str, str]) -> np.ndarray | None:
    """The outlined piece that is nearest to where the reader saw a nodule or a mass; None without one near it."""
    if one["state"] != "present" or one["finding"] not in OUTLINED or one["case"] not in outlined_cases():
        return None
    outlined, lps_from_kji = votes_of(data, one["case"])
    places = np.argwhere(outlined)
    centre = [float(mm) for mm in one["approx_centre_lps_mm"].split()]
    away_mm = np.linalg.norm(transform_points(lps_from_kji, places) - centre, axis=1)
    nearest = int(away_mm.argmin())
    if away_mm[nearest] > NEAR_MM:
        return None
    pieces, _ = ndimage.label(outlined, np.ones((3, 3, 3)))
    return pieces == pieces[tuple(places[nearest])]


@cache
def outlined_cases() -> dict[str, dict[str, Any]]:
    """The cases with outlined lesions that are held out of training, by name."""
    config = yaml.safe_load(config_path("", "pretrain_chest_ct").read_text("utf-8"))
    return {case["name"]: case for case in config["cases"] if "votes" in case and case["name"] in config["held_out"]}


@cache
def votes_of(data: Path, case: str) -> tuple[np.ndarray, np.ndarray]:
    """What enough readers outlined in a case, bool [k j i], and its affine to LPS in mm."""
    about = outlined_cases()[case]
    scan = read_scan(data / about["votes"])
    return np.nan_to_num(scan.voxels).round() >= about["outlined_from"], scan.lps_from_kji


def scan_of(folder: Path) -> Path:
    """The scan of a case: a NIfTI file, or a DICOM folder."""
    return folder / "ct.nii.gz" if (folder / "ct.nii.gz").exists() else folder / "dicom"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = rows(given.data, given.out.parent / "masks")
    write_manifest(found, given.out)
    there = sum(row.label == "present" for row in found)
    outlined = sum(row.mask is not None for row in found)
    print(f"{given.out}: {there} findings that are there ({outlined} outlined), {len(found) - there} that are not")


if __name__ == "__main__":
    main()
