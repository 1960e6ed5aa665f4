"""Trains a model on a term that it does not know, and prints its validation Dice before and after.

    python -m benchmarks.finetune_new_term --data DATA --out OUT [--model WEIGHTS] [--steps 60]

DATA is the folder of public scans that the weights are made from (docs/training.md). The term is *bone*, outlined by a
rule (above 200 HU in the body, components of more than 2 ml), since nobody drew it by hand there: the figure shows that
training works, not how well bones are found.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import lightning
import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from tips_med.geometry import ras_affine_ijk, voxel_volume_mm3
from tips_med.loading import open_model
from tips_med.manifest import Row, write_manifest
from tips_med.readers import read_scan
from tips_med.scan import Scan
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import TrainerSpec, fit_task
from tips_med.training.manifest_data import ManifestData

CASES = {"QIN-LSC-0014": "train", "QIN-LSC-0028": "train", "QIN-LSC-0049": "train", "QIN-LSC-0064": "val"}


def bones(scan: Scan) -> np.ndarray:
    """What is denser than 200 HU, in components of more than 2 ml, within the body's largest component."""
    body, _ = ndimage.label(ndimage.binary_opening(scan.voxels > -300, iterations=2))
    inside = ndimage.binary_dilation(body == 1 + np.bincount(body.ravel())[1:].argmax(), iterations=2)
    dense, count = ndimage.label((scan.voxels > 200) & inside)
    volume_ml = np.bincount(dense.ravel(), minlength=count + 1) * voxel_volume_mm3(scan.lps_from_kji) / 1000
    kept = volume_ml > 2
    kept[0] = False
    return kept[dense]


def manifest(data: Path, out: Path) -> Path:
    """Outlines the bones of every case, once."""
    rows = []
    for case, split in CASES.items():
        path = data / case / "ct.nii.gz"
        mask = out / "masks" / f"{case}.nii.gz"
        if not mask.exists():
            mask.parent.mkdir(parents=True, exist_ok=True)
            scan = read_scan(path)
            image = nib.Nifti1Image(bones(scan).astype(np.uint8).T, ras_affine_ijk(scan.lps_from_kji))
            nib.save(image, mask)
        rows.append(Row(path, "bones", mask, patient=case, split=split))
    return write_manifest(rows, out / "manifest.csv")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    model = open_model(chosen.model, "cpu")
    lexicon = model.lexicon
    assert "bone" not in (*model.card.findings, *model.card.structures)
    spec = DataSpec(manifest(chosen.data, chosen.out), shape=(6, 128, 160), batch=1, questions=2, negative_prob=0.0)
    torch.manual_seed(0)
    task = FinetuneTask.from_model(model, lexicon, FinetuneConfig(steps=chosen.steps, warmup=10, learning_rate=5e-4))
    data = ManifestData(spec, model, lexicon, chosen.out / "cache", chosen.steps)
    trainer = TrainerSpec("cpu", 1, ema=0.0, checkpoint_every=chosen.steps, validate_every=chosen.steps)
    data.prepare_data()
    prepared = time.perf_counter()
    judge = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    before = judge.validate(task, datamodule=data, verbose=False)[0]["val_dice"]
    fit_task(task, data, chosen.out, trainer)
    after = judge.validate(task, datamodule=data, verbose=False)[0]["val_dice"]
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "model": model.identity,
                "steps": chosen.steps,
                "val_dice_before": before,
                "val_dice_after": after,
                "preparing_s": prepared - begun,
                "training_s": done - prepared,
            }
        )
    )


if __name__ == "__main__":
    main()
