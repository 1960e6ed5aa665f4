"""How many scans have to be looked at to reach a Dice: those that ``suggest`` names, against a random choice.

    python -m benchmarks.suggest_masks --out OUT [--pool 32] [--share 0.25] [--rounds 4] [--each 2] [--seeds 3]

A pool of painted torsos (slices about the heart), of which a share has a finding that the shipped model does not know.
Both ways begin with the same two scans, one with the finding; in each round some more scans are labelled, with a mask
or as absent, and the shipped model is taught anew. Dice is the mean over test torsos that are in no pool.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.teach_painted import TEST, measure, paint_rows
from pipelines.suggest import suggest
from pipelines.train import train
from tips_med.manifest import Row, write_manifest
from tips_med.training.crops import DataSpec
from tips_med.training.finetune import FinetuneConfig
from tips_med.training.fitting import TrainerSpec

SHAPE = (28, 144, 176)


def teach(rows: Sequence[Row], folder: Path, steps: int) -> Path:
    """Teaches the shipped model; returns the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = write_manifest(rows, folder / "manifest.csv")
    spec = DataSpec(manifest, shape=(8, 128, 160), batch=2, questions=2)
    config = FinetuneConfig(steps=steps, warmup=10, learning_rate=5e-4)
    trainer = TrainerSpec("cpu", 1, ema=0.9, threads=torch.get_num_threads())
    return train(spec, folder / "run", name="taught", optimizer=config, trainer=trainer, check_scans=0)


def rank_pool(labelled: Sequence[Row], pool: Sequence[Row], model: Path, out: Path) -> dict[str, object]:
    """How many scans with the finding ``suggest`` puts first, and how many a random choice would have."""
    left = [row for row in pool if row not in labelled]
    candidates = write_manifest([*labelled, *left], out / "pool" / "candidates.csv")
    known = write_manifest(labelled, out / "pool" / "labelled.csv")
    found = suggest(str(known), candidates, str(model), top=len(left))
    by_scan = {row.scan_key: row.mask is not None for row in left}
    order = [by_scan[one.path.resolve()] for one in found.chosen]
    share = sum(order) / len(order)
    tops = {top: {"suggested": sum(order[:top]), "random": round(top * share, 1)} for top in (2, 4, 8)}
    return {"scans": len(order), "with_finding": sum(order), "of_first": tops}


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--finding", default="pericardial_effusion")
    parser.add_argument("--pool", type=int, default=32)
    parser.add_argument("--start", type=int, default=0, help="number of the first torso of the pool")
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--each", type=int, default=2, help="scans labelled in a round")
    parser.add_argument("--seeds", type=int, default=3, help="random choices")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(chosen.threads)
    out: Path = chosen.out
    numbers = range(chosen.start, chosen.start + chosen.pool)
    pool = paint_rows(out / "pool", chosen.finding, numbers, "train", chosen.share, SHAPE)
    test = paint_rows(out / "test", chosen.finding, range(TEST, TEST + 8), "test", 0.75, SHAPE)
    by_scan = {row.scan_key: row for row in pool}
    first = [next(row for row in pool if row.mask), next(row for row in pool if not row.mask)]
    begun = out / "begun" / "run" / "model.safetensors"
    if not begun.is_file():  # a stopped run goes on from here
        begun = teach(first, out / "begun", chosen.steps)
    start = {"scans": len(first), "masks": 1, "dice": measure(test, begun)["mean_dice"]}
    print("start", start, flush=True)
    print("first ranking", rank_pool(first, pool, begun, out), flush=True)
    curves: dict[str, list[dict[str, object]]] = {}
    for way in ("suggest", *(f"random {seed}" for seed in range(chosen.seeds))):
        rows, model, curves[way] = list(first), begun, [start]
        rng = np.random.default_rng(int(way.split()[1]) if way != "suggest" else 0)
        for nth in range(1, chosen.rounds + 1):
            left = [row for row in pool if row not in rows]
            if way == "suggest":
                candidates = write_manifest([*rows, *left], out / "pool" / "candidates.csv")
                labelled = write_manifest(rows, out / "pool" / "labelled.csv")
                found = suggest(str(labelled), candidates, str(model), top=chosen.each)
                rows += [by_scan[one.path.resolve()] for one in found.chosen]
            else:
                rows += [left[n] for n in rng.choice(len(left), chosen.each, replace=False)]
            folder = out / way.replace(" ", "-") / str(nth)
            model = teach(rows, folder, chosen.steps)
            value = measure(test, model)["mean_dice"]
            curves[way].append({"scans": len(rows), "masks": sum(row.mask is not None for row in rows), "dice": value})
            print(way, curves[way][-1], flush=True)
            shutil.rmtree(folder / "run" / "cache", ignore_errors=True)
            (out / "result.json").write_text(json.dumps(curves, indent=1) + "\n")
    print(json.dumps(curves))


if __name__ == "__main__":
    main()
