"""Fields of view that hold an organ and ones that do not, cut from public scans: what organs are calibrated on.

    python -m benchmarks.organs.presence DATA --out OUT [--hearts HEARTS] [--outlines MANIFEST]
    tips-med calibrate --model MODEL --manifest OUT/presence.csv --out CALIBRATED.safetensors

Every case is asked whole for what is outlined in it, and as two parts: what lies above the fork of the trachea, which
holds no abdominal organ and no heart, and what lies well below it, which holds no trachea. A part is only taken where
it is high enough to be a field of view. DATA and HEARTS are those of ``benchmarks.organs.manifest``, and MANIFEST is
what that wrote: with it, ``calibrate`` also finds where the map of each organ is cut best, on the whole scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.organs.manifest import (
    ABDOMINAL,
    TEST,
    UPPER_CHEST,
    argument_parser,
    axis_mm,
    cases_of,
    organs_of,
    patient_of,
    write_nifti,
)
from benchmarks.teach import scan_of
from tips_med.manifest import Row, read_manifest, write_manifest
from tips_med.readers import read_scan
from tips_med.scan import Scan

ABSENT_ABOVE = (*ABDOMINAL, "heart")
"""What does not reach up to the fork of the trachea."""

ABSENT_BELOW = ("trachea",)
"""What does not reach far below it."""

ALWAYS_THERE = ("body", "bone", "spine", "rib", "airway", "descending aorta")
"""In nearly every scan of a trunk: nothing says what a scan without them would look like."""

MIN_HEIGHT_MM = 40.0
CLEARANCE_MM, BELOW_MM = 15.0, 60.0


def rows_of(data: Path, case: str, out: Path, hearts: Path | None) -> Iterator[Row]:
    """The rows of a case; writes its parts."""
    path, patient, split = scan_of(data, case), patient_of(case), "test" if case in TEST else "train"
    scan = read_scan(path)
    organs = organs_of(data, case, scan, hearts)
    asked = [phrase for phrase in organs if not phrase.startswith(("left ", "right "))]
    asked += [phrase.split()[-1] for phrase in organs if phrase.endswith(" kidney")]
    for phrase in dict.fromkeys(asked):
        if phrase not in ALWAYS_THERE:
            yield Row(path, phrase, label="present", patient=patient, split=split)
    if case in UPPER_CHEST:
        for phrase in ABDOMINAL:
            yield Row(path, phrase, label="absent", patient=patient, split=split)
    if "trachea" not in organs or case in UPPER_CHEST:
        return
    z_mm = axis_mm(scan, 2)
    fork_mm = z_mm[organs["trachea"].any((1, 2))].min()
    parts = {"above": (z_mm > fork_mm + CLEARANCE_MM, ABSENT_ABOVE), "below": (z_mm < fork_mm - BELOW_MM, ABSENT_BELOW)}
    for name, (slices, phrases) in parts.items():
        if (part := _part(scan, slices, out / f"{case}_{name}.nii.gz")) is not None:
            for phrase in phrases:
                yield Row(part, phrase, label="absent", patient=patient, split=split)


def _part(scan: Scan, slices: np.ndarray, path: Path) -> Path | None:
    """Some slices of a scan as a file; None where they are too few."""
    chosen = np.flatnonzero(slices)
    if len(chosen) < 2 or abs(np.ptp(axis_mm(scan, 2)[chosen])) < MIN_HEIGHT_MM:
        return None
    affine = scan.lps_from_kji.copy()
    affine[:3, 3] += affine[:3, 0] * chosen[0]
    voxels = np.nan_to_num(scan.voxels[chosen[0] : chosen[-1] + 1], nan=-1024.0)
    return write_nifti(path, np.rint(voxels).astype(np.int16), affine)


def with_outlines(rows: Sequence[Row], outlined: Sequence[Row]) -> list[Row]:
    """Rows about presence with the masks of a manifest of outlines, and a row for each outline that is always there.

    Args:
        rows: Rows of ``rows_of``.
        outlined: Rows of ``benchmarks.organs.manifest``.
    """
    masks = {(row.scan, row.phrase): row for row in outlined if row.mask is not None}

    def outline_of(row: Row) -> Row:
        found = masks.get((row.scan, row.phrase)) if row.label == "present" else None
        return row if found is None else replace(row, mask=found.mask, ignore=found.ignore)

    always = [replace(row, label="present") for (_, phrase), row in masks.items() if phrase in ALWAYS_THERE]
    return [*map(outline_of, rows), *always]


def main() -> None:
    """Runs it."""
    parser = argument_parser(__doc__)
    parser.add_argument("--outlines", type=Path, default=None)
    chosen = parser.parse_args()
    rows = []
    for case in cases_of(chosen.data, chosen.hearts):
        own = list(rows_of(chosen.data, case, chosen.out, chosen.hearts))
        absent = [row.phrase for row in own if row.label == "absent"]
        print(f"{case}: {len(own) - len(absent)} there, {len(absent)} not there", flush=True)
        rows += own
    if chosen.outlines is not None:
        rows = with_outlines(rows, read_manifest(chosen.outlines))
    print(write_manifest(rows, chosen.out / "presence.csv"))


if __name__ == "__main__":
    main()
