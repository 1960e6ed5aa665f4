"""Plain rules on Hounsfield units in a painted test: the baseline that learned alignment has to beat.

python -m benchmarks.rule_baseline out/painted/manifest.csv [--out TABLE.json]

The rules get the lungs (the manifest's own outlines), which the model does not. Each finding's
rule is a range of Hounsfield units within the lungs, opened by a ball of 2 cells; how much of it there is stands for
how likely the finding is.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import ndimage

from tips_med.geometry import voxel_volume_mm3
from tips_med.manifest import read_manifest, read_mask
from tips_med.metrics import FalsePositiveVolume, GlobalDice, HitRate, InstanceDetection, PresenceDetection
from tips_med.query import Lexicon
from tips_med.readers import read_scan

RANGES_HU = {
    "ground_glass_opacity": (-750, -300),
    "consolidation": (-300, 150),
    "mass": (-300, 300),
    "nodule": (-300, 300),
    "emphysema": (-1024, -950),
    "pleural_effusion": (-30, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    lexicon = Lexicon.load("chest_ct")
    by_scan = defaultdict(list)
    for row in read_manifest(arguments.manifest):
        by_scan[row.scan].append((row, lexicon.parse(row.phrase)))
    metrics = defaultdict(lambda: (GlobalDice(), HitRate(), InstanceDetection(), FalsePositiveVolume()))
    presence = defaultdict(PresenceDetection)
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), 2)
    for path, rows in by_scan.items():
        scan = read_scan(path)
        ml = voxel_volume_mm3(scan.lps_from_kji) / 1000
        outlined = {q.side: read_mask(row.mask, scan, row.part) for row, q in rows if q.finding is None and row.mask}
        both = outlined["left"] | outlined["right"]
        for row, query in rows:
            if query.finding is None or query.finding.id not in RANGES_HU:
                continue
            low, high = RANGES_HU[query.finding.id]
            marked = (scan.voxels >= low) & (scan.voxels <= high)
            # Fluid has taken the lung's place: there the rule looks around it, too.
            where = outlined.get(query.side, both)
            if query.finding.id == "pleural_effusion":
                where = ndimage.binary_closing(where, iterations=8)
            marked = ndimage.binary_opening(marked & where, ball)
            truth = read_mask(row.mask, scan, row.part) if row.mask else np.zeros(scan.shape, bool)
            for term in (query.finding.id, ""):
                dice, hits, pieces, false = metrics[term]
                dice.update(marked, truth, patient=row.patient_key)
                hits.update(marked, truth, patient=row.patient_key)
                pieces.update(marked, truth, patient=row.patient_key)
                false.update(marked, truth, ml, patient=row.patient_key)
                volume_ml = marked.sum() * ml
                presence[term].update(float(volume_ml / (volume_ml + 10)), bool(truth.any()), patient=row.patient_key)
    table = {}
    for term, some in metrics.items():
        table[term or "all"] = {
            name: round(float(interval.value), 3) if np.isfinite(interval.value) else None
            for metric in (*some, presence[term])
            for name, interval in metric.intervals(2).items()
        }
        print(term or "all", json.dumps(table[term or "all"]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
