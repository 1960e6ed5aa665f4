"""The whole comparison: paints the crops, trains every method with every seed, measures, and prints the tables.

    python -m benchmarks.alignment --out OUT [--real /path/to/data] [--seeds 0 1 2] [--methods ours clip ...]

It goes on where it was stopped: what OUT holds already is not done again. Each method and seed is one file in
``OUT/runs``. At the end, or with ``--report`` at once, it prints the tables and writes them to ``OUT/report.md``, and
what they are made of to ``OUT/alignment.json``. ``--page docs/alignment.md`` puts them into the documentation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.alignment.batches import Words, box_of, collate
from benchmarks.alignment.data import MEANINGS, Crop, freeze, lexicon, load, save, vocabulary
from benchmarks.alignment.measuring import answers, choose_rule, query_seconds, rows_of
from benchmarks.alignment.methods import METHODS
from benchmarks.alignment.real import real_crops
from benchmarks.alignment.report import markdown, summary
from benchmarks.alignment.training import Budget, fit, load_weights, save_weights, towers_of
from benchmarks.marked import write_between_marks
from tips_med.errors import QueryError
from tips_med.folders import whole_file
from tips_med.training.objectives.base import Objective
from tips_med.training.objectives.pali_x import PaliX

SPLITS = ("train", "validation", "test")


def run_one(
    name: str, seed: int, crops: dict[str, list[Crop]], budget: Budget, weights: Path | None = None
) -> dict[str, Any]:
    """Trains one method with one seed and measures it.

    Args:
        name: Key of ``METHODS``.
        seed: Seed of the weights, of the order of crops and of what the objective draws.
        crops: Crops of ``SPLITS``, and of ``real`` where there are some.
        budget: Length of the training.
        weights: File for the trained weights; none when None.
    """
    words = Words(vocabulary(crops["train"]))
    method = METHODS[name]
    objective = method.make(towers_of(words, seed), budget)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    history = fit(objective, crops["train"], words, budget, seed, method.track == "weak",
                  lambda line: print(f"{name} {seed}: {line}", flush=True))  # fmt: skip
    spent = {"train_s": round(time.perf_counter() - begun, 1), "train_cpu_s": round(time.process_time() - begun_cpu, 1)}
    rule = choose_rule(list(answers(objective, crops["validation"], words)), crops["validation"])
    result: dict[str, Any] = {
        "method": name,
        "seed": seed,
        "steps": len(history),
        **asdict(rule),
        "weights": objective.weights,
        **spent,
        "query_ms": round(1000 * query_seconds(objective, crops["validation"], words), 2),
        "losses": [history[0], history[-1]],
    }
    for part in ("test", "real"):
        if part in crops:
            result[part] = rows_of(list(answers(objective, crops[part], words)), crops[part], rule)
    if isinstance(objective, PaliX):
        result["describes"] = described(objective, crops["test"], words)
    if weights is not None:
        save_weights(objective, weights)
    return result


def described(objective: PaliX, crops: Sequence[Crop], words: Words) -> dict[str, float]:
    """What the decoder says of the box of each crop's target: share of texts with the right finding, side and both."""
    right = {"finding": 0, "side": 0, "both": 0, "read": 0}
    for first in range(0, len(crops), 16):
        some = crops[first : first + 16]
        batch = collate(some, words)
        with torch.no_grad():
            image = objective.towers.look(batch.pixels, batch.offset_mm)
        boxes = torch.tensor([box_of(one.target[0]) for one in some], dtype=torch.float32)
        for crop, text in zip(some, objective.describe(boxes, image, words.vocabulary)):
            true = [MEANINGS[s.meaning] for s in crop.sentences if s.kind == "target"]
            sides = {one.side for one in true if one.side}
            try:
                query = lexicon().parse(text)
            except QueryError:
                continue
            finding = query.finding is not None and query.finding.id == true[0].finding
            # Without a side in what was painted for the target, any side is the side of its centre.
            x = (box_of(crop.target[0])[0] + box_of(crop.target[0])[2]) / 2
            side = query.side in (sides or {"left" if x > 0.5 else "right"})
            right["read"] += 1
            right["finding"] += finding
            right["side"] += side
            right["both"] += finding and side
    return {key: round(value / len(crops), 4) for key, value in right.items()}


def settings_of(digests: dict[str, str], budget: Budget) -> dict[str, Any]:
    """What has to be equal for runs to be compared."""
    return {"data": digests, "budget": asdict(budget), "torch": torch.__version__.split("+")[0]}


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=None, help="folder of the cases of pretrain_chest_ct.yaml")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--crops", type=int, nargs=3, default=(2400, 96, 384), help="of training, validation and test")
    parser.add_argument("--bodies", type=int, nargs=3, default=(64, 12, 24), help="the same")
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--forwards", type=int, default=Budget.forwards)
    parser.add_argument("--batch", type=int, default=Budget.batch)
    parser.add_argument("--learning-rate", type=float, default=Budget.learning_rate)
    parser.add_argument(
        "--bfloat16", action="store_true", help="train in mixed precision, where the machine is quick at it"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", action="store_true", help="keep the trained weights, for the figure")
    parser.add_argument("--report", action="store_true", help="train nothing, print the tables of what is there")
    parser.add_argument("--page", type=Path, default=None, help="page of the documentation to put the tables into")
    parser.add_argument("--part", default="alignment", help="part of the page, and name of what is kept beside it")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    runs = given.out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    if not given.report:
        budget = Budget(given.forwards, given.batch, given.learning_rate, bfloat16=given.bfloat16)
        digests = freeze(given.out / "data", given.crops, given.bodies, given.data_seed)
        crops = {split: load(given.out / "data" / f"{split}.safetensors") for split in SPLITS}
        if given.real is not None:
            file = given.out / "data" / "real.safetensors"
            if not file.is_file():
                save(real_crops(given.real), file)
            digests["real"] = hashlib.sha256(file.read_bytes()).hexdigest()
            crops["real"] = load(file)
        settings = settings_of(digests, budget)
        kept = given.out / "settings.json"
        if kept.is_file() and json.loads(kept.read_text()) != settings:
            raise SystemExit(f"{given.out} holds runs with other data or another budget: choose another --out")
        kept.write_text(json.dumps(settings, indent=1) + "\n")
        for seed in given.seeds:  # all methods of one seed first: an unfinished comparison is a smaller one
            for name in given.methods:
                _once(runs / f"{name}-{seed}.json", name, seed, crops, budget, given.weights)
    results = [json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))]
    if not results:
        raise SystemExit(f"no runs in {runs}")
    table = summary(results, json.loads((given.out / "settings.json").read_text()))
    (given.out / "alignment.json").write_text(json.dumps(table, indent=1) + "\n")
    text = markdown(table)
    (given.out / "report.md").write_text(text + "\n")
    if given.page is not None:
        write_between_marks(given.page, given.part, text)
        measured = given.page.parent / "measurements" / f"{given.part.replace(' ', '_')}.json"
        measured.write_text(json.dumps(table, indent=1) + "\n")
    print(text)


def _once(
    path: Path, name: str, seed: int, crops: dict[str, list[Crop]], budget: Budget, weights: bool
) -> None:  # fmt: skip
    if path.is_file():
        return
    result = run_one(name, seed, crops, budget, path.with_suffix(".safetensors") if weights else None)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result))


def rebuilt(folder: Path, name: str, seed: int, words: Words, budget: Budget) -> Objective:
    """A method as it was trained, from the weights that ``--weights`` kept."""
    objective = METHODS[name].make(towers_of(words, seed), budget)
    load_weights(objective, folder / "runs" / f"{name}-{seed}.safetensors")
    return objective


if __name__ == "__main__":
    main()
