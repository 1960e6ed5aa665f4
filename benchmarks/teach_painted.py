"""Teaches the shipped model a finding that it does not know, painted into 20 torsos, and measures torsos never seen.

    python -m benchmarks.teach_painted --out OUT [--finding pericardial_effusion] [--steps 300]

Half of the torsos have the finding, all have others beside it. Dice is that of the mask that ``ground`` answers, on the
scan's own grid, against what was painted; presence is not calibrated, so its AUROC is that of the score.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from benchmarks.teach import cpu_s, dice
from pipelines.train import train
from tips_med.exporters.nifti import write_volume
from tips_med.grounding import ground
from tips_med.loading import open_model
from tips_med.manifest import Row, read_mask, write_manifest
from tips_med.query import load_lexicon
from tips_med.readers import read_scan
from tips_med.resampling import resample
from tips_med.synthesis.phantom import make_phantom
from tips_med.synthesis.scene import SceneSpec, make_scene
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.fitting import TrainerSpec

SPACING_MM = (2.5, 2.0, 2.0)
OTHERS = {"nodule": 2.0, "consolidation": 1.0, "pleural_effusion": 1.0, "ground_glass_opacity": 1.0}
SEED = 3_000_000
"""Of the first torso: none of those that training, calibration, ``paint`` and the table before and after make."""

MIN_ML = 10.0
"""Minimum volume of the finding in a scan that has it."""

TEST = 500
"""Offset of the seeds of the test torsos."""


def paint_rows(
    out: Path, finding: str, numbers: Sequence[int], split: str, share: float = 0.5,
    shape: tuple[int, int, int] | None = None,
) -> list[Row]:  # fmt: skip
    """Paints torsos and writes them; a share of them has the finding.

    Args:
        out: Folder for scans and masks.
        finding: Term of the finding.
        numbers: Numbers of the torsos, which are their seeds.
        split: Split of the rows.
        share: Share of torsos with the finding, 0 to 1.
        shape: Shape of a scan, (slab, y, x); whole torsos when None.
    """
    phrase, rows = load_lexicon("chest_ct").term(finding).name, []
    spec = SceneSpec(shape=shape, weights=OTHERS, empty=0.0, max_findings=2)
    out.mkdir(parents=True, exist_ok=True)
    for n, number in enumerate(numbers):
        wanted = finding if int((n + 1) * share) > int(n * share) else None
        torso = make_phantom(SEED + number, SPACING_MM)
        for attempt in count():  # a crop may show no more than the edge of it
            scene = make_scene(torso, spec, np.random.default_rng([SEED, number, attempt]), wanted)
            mask = scene.where(finding)
            if wanted is None or mask.sum() * np.prod(scene.spacing_mm) / 1000 >= MIN_ML:
                break
        affine = np.eye(4)
        affine[:3, :3] = np.diag(scene.spacing_mm)[::-1]
        affine[1, 3], affine[0, 3] = scene.offset_mm
        name = f"{number:04d}"
        scan = write_volume(np.rint(scene.volume_hu).astype(np.int16), affine, out / f"{name}.nii.gz")
        file = write_volume(mask.astype(np.uint8), affine, out / f"{name}.mask.nii.gz") if mask.any() else None
        label = "present" if file else "absent"
        rows.append(Row(scan, phrase, file, label=label, patient=name, split=split))
    return rows


def measure(rows: Sequence[Row], file: Path) -> dict[str, object]:
    """Dice of what is there, volume of what is not, AUROC of the score."""
    model = open_model(str(file), "cpu")
    values, false_ml, scores, there = [], [], [], []
    at: dict[float, list[float]] = {threshold: [] for threshold in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)}
    for row in rows:
        scan = read_scan(row.scan)
        answer = ground(scan, row.phrase, model)
        scores.append(answer.presence.score)
        there.append(int(row.mask is not None))
        if row.mask is not None:
            truth = read_mask(row.mask, scan)
            values.append(round(dice(answer.mask, truth), 3))
            heat = np.nan_to_num(resample(answer.heat, answer.lps_from_heat, scan.lps_from_kji, scan.shape))
            for threshold, found in at.items():
                found.append(dice(heat >= threshold, truth))
        else:
            ml = float(answer.mask.sum()) * abs(np.linalg.det(scan.lps_from_kji[:3, :3])) / 1000
            false_ml.append(round(ml, 1))
    auroc = binary_auroc(torch.tensor(scores), torch.tensor(there)) if 0 < sum(there) < len(there) else float("nan")
    return {
        "dice": values,
        "mean_dice": round(float(np.mean(values)), 3),
        "mean_dice_of_map_at": {threshold: round(float(np.mean(found)), 3) for threshold, found in at.items()},
        "false_ml": false_ml,
        "auroc": round(float(auroc), 3),
    }


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--finding", default="pericardial_effusion")
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--test-scans", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--check-scans", type=int, default=0, help="painted scans of the table before and after")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(chosen.threads)
    rows = paint_rows(chosen.out / "train", chosen.finding, range(chosen.scans), "train")
    test = paint_rows(chosen.out / "test", chosen.finding, range(TEST, TEST + chosen.test_scans), "test")
    manifest = write_manifest([*rows, *test], chosen.out / "manifest.csv")
    begun, begun_cpu = time.perf_counter(), cpu_s()
    spec = DataSpec(manifest, shape=(8, 128, 160), batch=2, questions=2)
    trainer = TrainerSpec("cpu", 1, ema=0.95, checkpoint_every=100, threads=chosen.threads)
    config = FinetuneConfig(steps=chosen.steps, warmup=20, learning_rate=5e-4)
    file = train(spec, chosen.out / "run", name="taught", optimizer=config, trainer=trainer,
                 check_scans=chosen.check_scans)  # fmt: skip
    result = {
        "finding": chosen.finding,
        "outlined": sum(row.mask is not None for row in rows),
        "steps": chosen.steps,
        "training_wall_s": round(time.perf_counter() - begun),
        "training_cpu_s": round(cpu_s() - begun_cpu),
        **measure(test, file),
    }
    (chosen.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
