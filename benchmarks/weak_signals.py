"""What each weak signal of a report adds to training without outlines, on painted scans with written reports.

    python -m benchmarks.weak_signals --out OUT

Scans are painted into phantoms and written as DICOM; a small writer states in words what was painted (finding, side,
how many, size, image), and ``tips_med.reports`` reads it, so the whole way from a report to a loss is walked. The
finding is *bulla*, which the shipped weights were never taught: air behind a thin wall, beside emphysema, cavities and
nodules. The image tower is frozen and its features are kept, so that all arms fit on two cores; text tower and head
learn, with the same steps and seeds in every arm. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.painted_reports import SHAPE, SPACING_MM, paint_cases
from pipelines.make_manifest import make_manifest
from tips_med.card import ModelCard
from tips_med.encoders.tips.tuning import FineTuning
from tips_med.loading import open_model
from tips_med.manifest import read_manifest, write_manifest
from tips_med.metrics import AxialError, AxialRPrecision, PointingGame, dice, find_components
from tips_med.model import GroundingModel
from tips_med.training.batches import PhraseBatch
from tips_med.training.crops import DataSpec, StudyCrops
from tips_med.training.finetune import FinetuneConfig, FinetuneTask
from tips_med.training.fitting import TrainerSpec, fit_task
from tips_med.training.manifest_data import ManifestData
from tips_med.training.studies import prepare_studies
from tips_med.training.towers import TrainableTowers, Tuning, trainable_towers

QUERY = "bulla"
SEED = 2_000_000
NOTHING = {"slice_weight": 0.0, "size_weight": 0.0, "count_weight": 0.0, "region_weight": 0.0}
SIGNALS = {name: getattr(FinetuneConfig(), name) for name in NOTHING}
ARMS = {
    "plain": NOTHING,
    "slice": NOTHING | {"slice_weight": SIGNALS["slice_weight"]},
    "size": NOTHING | {"size_weight": SIGNALS["size_weight"]},
    "count": NOTHING | {"count_weight": SIGNALS["count_weight"]},
    "region": NOTHING | {"region_weight": SIGNALS["region_weight"]},
    "all": SIGNALS,
    **{f"all but {name.removesuffix('_weight')}": SIGNALS | {name: 0.0} for name in SIGNALS},
    "dense": NOTHING,
}
NAMES = {
    "untrained": "nothing",
    "plain": "weak rows alone",
    "slice": "+ cited slice",
    "size": "+ size",
    "count": "+ count, both sides",
    "region": "+ organ and side",
    "all": "+ all four",
    "all but slice": "+ all but the cited slice",
    "all but size": "+ all but the size",
    "all but count": "+ all but count, both sides",
    "all but region": "+ all but organ and side",
    "dense": "outlines",
}
COLUMNS = {
    "pointing": "peak in it",
    "dice": "Dice",
    "found": "found",
    "axial_error_mm": "axial error, mm",
    "axial_r_precision": "axial R-precision",
}
MARKS = ("<!-- table of benchmarks.weak_signals -->", "<!-- end of the table -->")
MEASURES = ("pointing", "dice", "found", "axial_error_mm", "axial_r_precision")


class KeptTowers(TrainableTowers):
    """Towers whose image tower is frozen, with its features kept on disk and in memory.

    Args:
        towers: Towers with a frozen image tower.
        folder: Folder of the features.
    """

    def __init__(self, towers: TrainableTowers, folder: Path, kept: dict[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.towers, self.head, self.patch_width = towers, towers.head, towers.patch_width
        self.folder, self.kept = folder, kept

    def encode_images(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        found = [self._one(pixels[n : n + 1], offset_mm[n : n + 1]) for n in range(len(pixels))]
        patches, fine = zip(*found)
        return torch.cat(patches).float(), torch.cat(fine).float()

    def _one(self, pixels: Tensor, offset_mm: Tensor) -> tuple[Tensor, Tensor]:
        content = pixels[..., ::4, ::4].contiguous().numpy().tobytes() + offset_mm.numpy().tobytes()
        name = hashlib.sha256(content).hexdigest()[:32]
        if name not in self.kept:
            file = self.folder / f"{name}.safetensors"
            if not file.exists():
                with torch.inference_mode():
                    patches, fine = self.towers.encode_images(pixels, offset_mm)
                save_file({"patches": patches.bfloat16().contiguous(), "fine": fine.bfloat16().contiguous()}, file)
            arrays = load_file(file)
            self.kept[name] = arrays["patches"], arrays["fine"]
        return self.kept[name]

    def encode_phrases(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See TrainableTowers."""
        return self.towers.encode_phrases(phrases)

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """See TrainableTowers."""
        self.towers.check_shape(shape)

    def layers(self) -> Sequence[nn.Module]:
        """See TrainableTowers."""
        return self.towers.layers()

    def model(self, card: ModelCard) -> GroundingModel:
        """See TrainableTowers."""
        return self.towers.model(card)

    def save(self, out: Path, card: ModelCard) -> Path:
        """See TrainableTowers."""
        return self.towers.save(out, card)


@dataclass(frozen=True)
class Setting:
    """What is the same in all arms."""

    out: Path
    model: GroundingModel
    kept: dict[str, tuple[Tensor, Tensor]]
    steps: int
    learning_rate: float
    pool_share: float

    def towers(self) -> KeptTowers:
        """New towers to train."""
        inner = trainable_towers(self.model, self.model.lexicon, Tuning(image=FineTuning("freeze")))
        folder = self.out / "features"
        folder.mkdir(parents=True, exist_ok=True)
        return KeptTowers(inner, folder, self.kept)

    def spec(self, manifest: Path) -> DataSpec:
        """Crops of whole scans that are never changed, so that their features can be kept."""
        return DataSpec(manifest, SHAPE, batch=2, questions=1, flip_prob=0.0, negative_prob=0.0, shift_hu=0.0)


def manifests(out: Path, train: int, val: int, test: int, seed: int) -> dict[str, Path]:
    """Paints the scans and writes the manifests: weak from the reports, dense from what was painted."""
    cases = paint_cases(out, {"train": train, "val": val, "test": test}, seed)
    reports = out / "reports.csv"
    with reports.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "report", "patient", "split"])
        writer.writerows([one.scan.relative_to(out), one.report, one.name, one.split] for one in cases)
    by_scan = {one.scan.resolve(): one for one in cases}
    written = make_manifest("reports", out / "reports.manifest.csv", reports=reports)
    rows = [replace(row, patient=by_scan[row.scan.resolve()].name) for row in read_manifest(written)]
    of_term = [row for row in rows if QUERY in row.phrase]
    weak = [replace(row, region=by_scan[row.scan.resolve()].lungs) for row in of_term if row.split == "train"]
    # Weak phrases are used half of the time as their finding alone; so are those with an outline.
    dense = [
        replace(row, phrase=phrase, mask=by_scan[row.scan.resolve()].mask if row.label == "present" else None)
        for row in of_term
        if row.split == "train"
        for phrase in (dict.fromkeys([row.phrase, QUERY]) if row.label == "present" else [row.phrase])
    ]
    truth = [
        replace(row, phrase=QUERY, mask=by_scan[row.scan.resolve()].mask)
        for row in of_term
        if row.split != "train" and row.label == "present"
    ]
    made = {"weak": weak, "dense": dense, "truth": truth}
    return {name: write_manifest(some, out / f"{name}.csv") for name, some in made.items()}


def train_arm(setting: Setting, arm: str, seed: int, manifest: Path) -> FinetuneTask:
    """Trains one arm from the shipped weights."""
    torch.manual_seed(seed)
    config = FinetuneConfig(
        steps=setting.steps, warmup=10, learning_rate=setting.learning_rate, pool_share=setting.pool_share, **ARMS[arm]
    )
    task = FinetuneTask(setting.towers(), config)
    data = ManifestData(
        setting.spec(manifest), setting.model, setting.model.lexicon, setting.out / "cache", setting.steps, seed
    )
    run = setting.out / "runs" / f"{arm.replace(' ', '-')}-{seed}"
    trainer = TrainerSpec(
        "cpu", 1, precision="32-true", ema=0.0, checkpoint_every=setting.steps, validate_every=setting.steps, threads=1
    )
    fit_task(task, data, run, trainer)
    return task


@torch.inference_mode()
def maps(task: FinetuneTask, batches: Sequence[PhraseBatch]) -> list[np.ndarray]:
    """The map of the query in every scan, logits [slab y x]."""
    found = []
    for batch in batches:
        _, pooled = task.towers.encode_phrases(batch.phrases)
        patches, fine = task.towers.encode_images(batch.pixels, batch.offset_mm)
        found.append(task.towers.head.fine_scores(pooled[None], patches, fine)[0, 0].numpy())
    return found


def found_lesions(heat: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """The share of lesions that are hit by the highest separate peaks, as many as there are lesions."""
    labels, count = find_components(truth, min_voxels=1)
    free, hit = heat.copy(), set()
    half = [int(10.0 / mm) for mm in spacing_mm]
    for _ in range(count):
        place = np.unravel_index(int(np.argmax(free)), free.shape)
        hit.add(int(labels[place]))
        free[tuple(slice(max(0, int(n) - h), int(n) + h + 1) for n, h in zip(place, half))] = -np.inf
    return len(hit - {0}) / count


def measure(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray], threshold: float) -> dict[str, list[float]]:
    """Every measure of every patient."""
    rows: dict[str, list[float]] = {name: [] for name in MEASURES}
    spacing = SPACING_MM
    for heat, truth in zip(heats, truths):
        slices = truth.any(axis=(1, 2))
        point, error, precision = PointingGame(), AxialError(), AxialRPrecision()
        point.update(heat, truth)
        error.update(heat, slices, spacing[0])
        precision.update(heat, slices)
        rows["pointing"].append(float(point.compute()["pointing"]))
        rows["axial_error_mm"].append(float(error.compute()["axial_error_mm"]))
        rows["axial_r_precision"].append(float(precision.compute()["axial_r_precision"]))
        rows["dice"].append(dice(heat >= threshold, truth))
        rows["found"].append(found_lesions(heat, truth, spacing))
    return rows


def best_threshold(heats: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """The threshold with the best mean Dice, of the quantiles of what is high."""
    high = np.concatenate([np.sort(heat.ravel())[-4000:] for heat in heats])
    tried = np.unique(np.quantile(high, np.linspace(0.0, 0.999, 60)))
    return float(max(tried, key=lambda t: np.mean([dice(h >= t, m) for h, m in zip(heats, truths)])))


def evaluation_batches(setting: Setting, manifest: Path, split: str) -> list[PhraseBatch]:
    """Every scan of a split with the truth about the query."""
    rows = [row for row in read_manifest(manifest) if row.split == split]
    files, skipped = prepare_studies(rows, setting.model, setting.model.lexicon, setting.out / "cache")
    if skipped:
        raise RuntimeError(f"rows were left out: {skipped}")
    spec = replace(setting.spec(manifest), batch=1, questions=1)
    crops = StudyCrops(files, spec, setting.model.image.slab_spec, setting.model.lexicon, augment=False)
    batches = [crops.make(n) for n in range(len(files))]
    # A bulla that was cut by the edge of the scan may cover half of no cell: then there is nothing to point at.
    return [batch for batch in batches if bool((batch.target > 0.5).any())]


def run_arm(setting: Setting, arm: str, seed: int, paths: dict[str, Path], sets: dict[str, list[PhraseBatch]]) -> Path:
    """Trains and measures one arm with one seed, once."""
    file = setting.out / "results" / f"{arm.replace(' ', '-')}-{seed}.json"
    if file.exists():
        return file
    begun = time.perf_counter()
    if arm == "untrained":
        torch.manual_seed(seed)
        task = FinetuneTask(setting.towers(), FinetuneConfig())
    else:
        task = train_arm(setting, arm, seed, paths["dense" if arm == "dense" else "weak"])
    trained = time.perf_counter()
    task.eval()
    truths = {name: [batch.target[0, 0].numpy() > 0.5 for batch in some] for name, some in sets.items()}
    heats = {name: maps(task, some) for name, some in sets.items()}
    threshold = best_threshold(heats["val"], truths["val"])
    result = {
        "arm": arm,
        "seed": seed,
        "threshold": threshold,
        "training_s": trained - begun,
        "val": measure(heats["val"], truths["val"], threshold),
        "test": measure(heats["test"], truths["test"], threshold),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result))
    means = {name: round(float(np.mean(values)), 3) for name, values in result["test"].items()}
    print(arm, seed, f"{trained - begun:.0f} s", means, flush=True)
    return file


def interval(values: np.ndarray, draws: int = 2000) -> list[float]:
    """The mean over patients and its 95% interval by bootstrap over patients."""
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
    return [round(float(x), 4) for x in (values.mean(), *np.percentile(drawn, [2.5, 97.5]))]


def summary(files: Sequence[Path]) -> dict[str, Any]:
    """Means over seeds, intervals over patients; differences are paired by patient."""
    results = [json.loads(file.read_text()) for file in files]
    arms = list(dict.fromkeys(one["arm"] for one in results))
    tables: dict[str, Any] = {}
    for name in MEASURES:
        of_arm = {a: np.mean([one["test"][name] for one in results if one["arm"] == a], axis=0) for a in arms}
        gap = float(np.mean(of_arm["dense"] - of_arm["plain"])) if {"dense", "plain"} <= set(arms) else 0.0
        tables[name] = {
            arm: {
                "mean": interval(values),
                "over_plain": interval(values - of_arm.get("plain", values)),
                "of_the_gap_to_dense": round(float(np.mean(values - of_arm.get("plain", values))) / gap, 3)
                if gap
                else None,
                "seeds": [round(float(np.mean(one["test"][name])), 4) for one in results if one["arm"] == arm],
            }
            for arm, values in of_arm.items()
        }
    return tables


def markdown(results: dict[str, Any]) -> str:
    """The table of the documentation."""
    measures = results["measures"]
    arms = [arm for arm in NAMES if arm in measures["pointing"]]
    lines = ["| learned from | " + " | ".join(COLUMNS.values()) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for arm in arms:
        cells = []
        for name in COLUMNS:
            one = measures[name][arm]
            digits = 1 if name.endswith("_mm") else 2
            cell = f"{one['mean'][0]:.{digits}f}"
            if arm not in ("plain", "untrained"):
                change, low, high = one["over_plain"]
                cell += f" ({change:+.{digits}f}; {low:+.{digits}f} to {high:+.{digits}f})"
            cells.append(cell)
        lines.append(f"| {NAMES[arm]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_table(results: dict[str, Any], page: Path) -> None:
    """Puts the table between its marks in a page."""
    text = page.read_text("utf-8")
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n\n{markdown(results)}\n\n{MARKS[1]}{after}", "utf-8")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--val", type=int, default=8)
    parser.add_argument("--test", type=int, default=28)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--pool-share", type=float, default=FinetuneConfig.pool_share)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["untrained", *ARMS])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--page", type=Path, help="page whose table is made anew")
    chosen = parser.parse_args()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    out = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    model = open_model(chosen.model, "cpu")
    setting = Setting(out, model, {}, chosen.steps, chosen.learning_rate, chosen.pool_share)
    begun = time.perf_counter()
    paths = manifests(out, chosen.train, chosen.val, chosen.test, seed=SEED)
    sets = {split: evaluation_batches(setting, paths["truth"], split) for split in ("val", "test")}
    print(f"painted, read and prepared in {time.perf_counter() - begun:.0f} s", flush=True)
    files = [run_arm(setting, arm, seed, paths, sets) for seed in chosen.seeds for arm in chosen.arms]
    results = {
        "model": model.identity,
        "query": QUERY,
        "scans": {"train": chosen.train, **{name: len(some) for name, some in sets.items()}},
        "steps": chosen.steps,
        "seeds": chosen.seeds,
        "learning_rate": chosen.learning_rate,
        "pool_share": chosen.pool_share,
        "weights": SIGNALS,
        "measures": summary(files),
    }
    (chosen.results or out / "weak_signals.json").write_text(json.dumps(results, indent=2) + "\n")
    if chosen.page:
        write_table(results, chosen.page)


if __name__ == "__main__":
    main()
