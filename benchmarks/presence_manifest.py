"""Turns what a reader reported in the real scans (presence.csv) into a manifest, for ``tips-med calibrate``.

    python -m benchmarks.presence_manifest DATA --out runs/presence.csv

``DATA`` is a folder of scans, one a case, with ``presence.csv`` beside them: its columns case, finding, side and state
have what one careful reader reported. What the reader was not sure of is left out.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

from tips_med.manifest import Row, write_manifest

PLEURAL = ("pleural effusion", "pneumothorax")


def rows(data: Path) -> list[Row]:
    """A row for every finding and side that the reader called present or absent."""
    found = []
    with (data / "presence.csv").open(newline="", encoding="utf-8") as file:
        for line, one in enumerate(csv.DictReader(file), start=2):
            if one["state"] not in ("present", "absent") or one["side"] not in ("left", "right"):
                continue
            where = f"{one['side']} {one['finding']}" if one["finding"] in PLEURAL else None
            found.append(
                Row(
                    scan=scan_of(data / one["case"]),
                    phrase=where or f"{one['finding']} in the {one['side']} lung",
                    label=one["state"],  # pyright: ignore[reportArgumentType]
                    patient=re.sub(r"(-t\d|-acq\d)$", "", one["case"]),
                    split="test",
                    line=line,
                )
            )
    return found


def scan_of(folder: Path) -> Path:
    """The scan of a case: a NIfTI file, or a DICOM folder."""
    return folder / "ct.nii.gz" if (folder / "ct.nii.gz").exists() else folder / "dicom"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = rows(given.data)
    write_manifest(found, given.out)
    there = sum(row.label == "present" for row in found)
    print(f"{given.out}: {there} findings that are there, {len(found) - there} that are not")


if __name__ == "__main__":
    main()
