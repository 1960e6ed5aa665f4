"""Where the fissures of five lungs lie on average, and how well lobes estimated by them hold for another lung.

    python -m benchmarks.lobes DATA [--write]

DATA holds the folders 1 to 5 of Med-MPD's lung shapes (derived from LIDC-IDRI, CC BY 3.0), each with
``pleuralBoundary.nii.gz`` and ``fissures.nii.gz``. ``--write`` puts the fissures that are fitted to all five into
tips_med/grounding/lobes.json, the tables into docs/lobes.md, the pictures into docs/images/lobes*.png and the numbers
into docs/measurements/lobes.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.lobes.fit import fit
from benchmarks.lobes.measure import closing, measured, naming, table
from benchmarks.lobes.truth import read_fissured_lung
from benchmarks.marked import DOCS, write_between_marks
from tips_med.geometry import LEFT, RIGHT
from tips_med.grounding.lobes import FILE, MeanFissures

SOURCE = (
    "Fitted by `python -m benchmarks.lobes` to the lungs and fissures of Med-MPD, cases {cases}, derived from "
    "LIDC-IDRI (Armato 2011), CC BY 3.0"
)


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    folders = sorted(one for one in chosen.data.iterdir() if (one / "fissures.nii.gz").exists())
    if len(folders) < 2:
        raise SystemExit(f"{chosen.data} holds {len(folders)} folders with fissures.nii.gz; at least two are needed")
    lungs = [read_fissured_lung(folder) for folder in folders]
    rows, margin_mm = measured(lungs)
    gaps, lobes, names = closing(lungs), table(rows, margin_mm), naming(lungs, margin_mm)
    print(gaps, lobes, names, f"Margin of what is searched: {margin_mm} mm", sep="\n\n")
    if not chosen.write:
        return
    fissures = fit(lungs, margin_mm)
    FILE.write_text(written(fissures, [lung.case for lung in lungs]), "utf-8")
    (DOCS / "measurements" / "lobes.json").write_text(json.dumps(rounded(rows, margin_mm), indent=1) + "\n", "utf-8")
    write_between_marks(DOCS / "lobes.md", "closing", gaps)
    write_between_marks(DOCS / "lobes.md", "lobes", lobes)
    write_between_marks(DOCS / "lobes.md", "naming", names)
    write_between_marks(DOCS / "lobes.md", "margin", f"The margin is {margin_mm} mm.")


def written(fissures: MeanFissures, cases: list[str]) -> str:
    """The fissures as ``tips_med.grounding.lobes`` reads them."""
    planes = {
        "right oblique": fissures.oblique[RIGHT],
        "right horizontal": fissures.horizontal,
        "left oblique": fissures.oblique[LEFT],
    }
    content = {
        "source": SOURCE.format(cases=", ".join(cases)),
        "planes": {name: [round(float(value), 3) for value in plane] for name, plane in planes.items()},
        "margin_mm": fissures.margin_mm,
    }
    return json.dumps(content, indent=1) + "\n"


def rounded(rows: list[dict], margin_mm: int) -> dict:
    """The measurements, without the margins that are not used."""
    kept = []
    for row in rows:
        dice = {way: round(value, 4) for way, value in row["dice"].items()}
        bands = {key: round(value, 4) for key, value in row["bands"].items()}
        searched = {key: round(row[key][margin_mm], 4) for key in ("covers", "takes")}
        kept.append({"case": row["case"], "lobe": row["lobe"], "dice": dice, "searched": searched, "bands": bands})
    return {"margin_mm": margin_mm, "lobes": kept}


if __name__ == "__main__":
    main()
