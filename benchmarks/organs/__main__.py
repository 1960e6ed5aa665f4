"""How well organs are outlined in scans of patients that they were not taught on.

    python -m benchmarks.organs OUT/manifest.csv [--model WEIGHTS] [--write]

The manifest is that of ``benchmarks.organs.manifest``; its split ``test`` is asked. Dice is that of the answer on the
scan's own grid, without what the manifest ignores. ``--write`` puts the table into docs/model-card.md and what it is
made of into docs/measurements/organs.json.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marked import DOCS, write_between_marks
from tips_med.errors import QueryError
from tips_med.geometry import transform_points, voxel_volume_mm3
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.ground import parse_query
from tips_med.loading import open_model
from tips_med.manifest import Row, read_manifest, read_mask
from tips_med.model import GroundingModel
from tips_med.readers import read_scan

OTHER = {"left kidney": "right kidney", "right kidney": "left kidney", "left rib": "right rib", "right rib": "left rib"}
SHIPPED_SAW = ("CRLM-CT-1006",)
"""Test patients whose bodies the convolutions were trained on, without their organs."""


def measured(rows: list[Row], model: GroundingModel) -> list[dict[str, Any]]:
    """One entry for each outlined organ of each scan."""
    found = []
    for path in dict.fromkeys(row.scan for row in rows):
        own = [row for row in rows if row.scan == path and row.mask is not None and _answered(row.phrase, model)]
        study = encode(read_scan(path), model, adapters="all")
        scan = study.scan
        truths = {row.phrase: read_mask(row.mask, scan, row.part) for row in own if row.mask is not None}
        for row in own:
            answer, truth = ground(study, row.phrase, model), truths[row.phrase]
            known = ~read_mask(row.ignore, scan, row.ignore_part) if row.ignore is not None else np.array(True)
            marked, outlined = answer.mask & known, truth & known
            both, total = int((marked & outlined).sum()), int(marked.sum() + outlined.sum())
            other = truths.get(OTHER.get(row.phrase, ""))
            wrong = None if other is None else round(float((marked & other).sum() / max(marked.sum(), 1)), 5)
            found.append(
                {
                    "case": row.patient,
                    "organ": row.phrase,
                    "outlined_ml": round(float(outlined.sum()) * voxel_volume_mm3(scan.lps_from_kji) / 1000, 1),
                    "marked_ml": round(float(marked.sum()) * voxel_volume_mm3(scan.lps_from_kji) / 1000, 1),
                    "dice": round(2 * both / max(total, 1), 4),
                    "state": answer.presence.state,
                    "peak_inside": _inside(answer, truth | ~known),
                    "wrong_side": wrong,
                }
            )
            print(found[-1], flush=True)
    return found


def _answered(phrase: str, model: GroundingModel) -> bool:
    """Whether a model answers what a phrase names."""
    try:
        parse_query(phrase, model)
    except QueryError:
        return False
    return True


def _inside(answer: Grounding, mask: np.ndarray) -> bool:
    """Whether the peak is in a mask."""
    index = transform_points(np.linalg.inv(answer.scan.lps_from_kji), np.array(answer.peak_lps))[0]
    return bool(mask[tuple(np.clip(np.rint(index).astype(int), 0, np.array(mask.shape) - 1))])


def table(rows: list[dict[str, Any]]) -> str:
    """One line an organ: patients, Dice, its lowest, what was called present, and what lies on the wrong side."""
    by_organ: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_organ[row["organ"]].append(row)
    lines = [
        "| organ | patients | Dice, mean | lowest | called present | peak inside | on the wrong side, at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for organ, own in by_organ.items():
        dice = [row["dice"] for row in own]
        wrong = [row["wrong_side"] for row in own if row["wrong_side"] is not None]
        present, peaks = (sum(row[key] in (True, "present") for row in own) for key in ("state", "peak_inside"))
        lines.append(
            f"| {organ} | {len(own)} | {np.mean(dice):.2f} | {min(dice):.2f} | {present} | {peaks} | "
            f"{f'{100 * max(wrong):.1f} %' if wrong else '-'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--split", default="test")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    model = open_model(chosen.model, "cpu")
    rows = measured(read_manifest(chosen.manifest, chosen.split), model)
    text = table(rows)
    print(text)
    if chosen.write:
        content = {"model": model.identity, "rows": rows}
        (DOCS / "measurements" / "organs.json").write_text(json.dumps(content, indent=1) + "\n")
        write_between_marks(DOCS / "model-card.md", "organs", text)


if __name__ == "__main__":
    main()
