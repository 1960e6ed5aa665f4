"""The tables: means over seeds, and paired bootstrap over bodies of the difference from ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from benchmarks.alignment.methods import METHODS, OURS, Track

DRAWS = 2000
MEASURES = ("box", "iou", "given", "pointing", "dice", "follows", "leak")

LARGE = 100
"""From how many pixels of 2.5 mm on a target is large (100 are 6.25 square centimetres, a disc of 28 mm)."""

Row = dict[str, Any]


def merged(runs: Sequence[dict[str, Any]], part: str) -> list[Row]:
    """One row a sentence: its numbers, each the mean over seeds; scores stay apart, by seed."""
    rows = []
    for same in zip(*(run[part] for run in runs)):
        row: Row = {key: same[0][key] for key in ("crop", "body", "rival", "kind", "new_words")}
        if "iou" in same[0]:
            row["box"] = float(np.mean([one["iou"] >= 0.5 for one in same]))
        for key in ("iou", "given", "pointing", "dice", "follows", "leak", "cells"):
            if key in same[0]:
                row[key] = float(np.mean([one[key] for one in same]))
        row["scores"] = [one["score"] for one in same]
        rows.append(row)
    return rows


def mean(rows: Sequence[Row], key: str) -> float:
    """The mean of a number over the sentences that have it; NaN where none has."""
    values = [row[key] for row in rows if key in row]
    return float(np.mean(values)) if values else float("nan")


def auroc(rows: Sequence[Row]) -> float:
    """Of the scores of presence, mean over seeds; NaN unless there are sentences of both kinds."""
    there = torch.tensor([int("iou" in row) for row in rows])
    if not 0 < int(there.sum()) < len(there):
        return float("nan")
    seeds = range(len(rows[0]["scores"]))
    return float(np.mean([binary_auroc(torch.tensor([row["scores"][n] for row in rows]), there) for n in seeds]))


def drawn(rows: Sequence[Row], others: Sequence[Row] | None, key: str, seed: int = 0) -> tuple[float, float]:
    """95% interval of a mean, or of its difference from that of others on the same sentences, by drawing bodies."""
    pairs: dict[str, list[float]] = defaultdict(list)
    for n, row in enumerate(rows):
        if key in row:
            pairs[row["body"]].append(row[key] - (others[n][key] if others is not None else 0.0))
    sums = np.array([[np.sum(values), len(values)] for values in pairs.values()])
    if len(sums) < 2:
        return float("nan"), float("nan")
    which = np.random.default_rng(seed).integers(len(sums), size=(DRAWS, len(sums)))
    totals = sums[which].sum(1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5])
    return float(low), float(high)


def part_of(rows: Sequence[Row], ours: Sequence[Row] | None) -> dict[str, Any]:
    """All measures of one method on one test."""
    subsets: dict[str, Callable[[Row], bool]] = {
        "known_words": lambda r: not r["new_words"],
        "new_words": lambda r: r["new_words"],
        "rival_side": lambda r: r["rival"] == "side",
        "rival_finding": lambda r: r["rival"] == "finding",
        "rival_look": lambda r: r["rival"] == "look",
        "small": lambda r: r.get("cells", 0) < LARGE,
        "large": lambda r: r.get("cells", 0) >= LARGE,
    }
    result: dict[str, Any] = {key: _number(mean(rows, key)) for key in MEASURES}
    result["auroc"] = _number(auroc(rows))
    result["box_interval"] = [_number(value) for value in drawn(rows, None, "box")]
    result["sentences"], result["bodies"] = sum("iou" in r for r in rows), len({r["body"] for r in rows})
    result |= {name: _number(mean([r for r in rows if keep(r)], "box")) for name, keep in subsets.items()}
    if ours is not None:
        result["below_ours"] = _number(mean(ours, "box") - mean(rows, "box"))
        result["below_ours_interval"] = [_number(value) for value in drawn(ours, rows, "box")]
    return result


def _number(value: float) -> float | None:
    """Four digits; None, which JSON has, where nothing defines it."""
    return None if np.isnan(value) else round(value, 4)


def summary(results: Sequence[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that the tables show, of the runs that there are."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        runs[result["method"]].append(result)
    table: dict[str, Any] = {"settings": settings, "methods": {}}
    rows = {name: {part: merged(some, part) for part in ("test", "real") if all(part in run for run in some)}
            for name, some in runs.items()}  # fmt: skip
    for name in METHODS:
        if name not in runs:
            continue
        ours, some = OURS[METHODS[name].track], runs[name]
        same = ours in runs and {run["seed"] for run in runs[ours]} == {run["seed"] for run in some}
        table["methods"][name] = {
            "seeds": sorted(run["seed"] for run in some),
            **{key: round(float(np.mean([run[key] for run in some])), 2)
               for key in ("steps", "weights", "train_s", "train_cpu_s", "query_ms", "threshold", "peak")},
            **{part: part_of(found, rows[ours].get(part) if same and name != ours else None)
               for part, found in rows[name].items()},
        }  # fmt: skip
        said = [run["describes"] for run in some if "describes" in run]
        if said:
            table["methods"][name]["describes"] = {key: round(float(np.mean([one[key] for one in said])), 4)
                                                   for key in said[0]}  # fmt: skip
    return table


def markdown(table: dict[str, Any]) -> str:
    """The tables, as in docs/alignment.md."""
    parts = []
    for track in ("dense", "weak"):
        own = {name: one for name, one in table["methods"].items() if METHODS[name].track == track}
        if own:
            parts += [f"**{track.capitalize()} track**, painted crops of bodies never trained on:", _main(own, track)]
    if table["methods"]:
        parts += ["What the box accuracy (%) is made of, and the words that are changed:", _details(table["methods"])]
    real = {name: one for name, one in table["methods"].items() if "real" in one}
    if real:
        count = next(iter(real.values()))["real"]
        about = f"{count['sentences']} sentences about outlined lesions of {count['bodies']} patients"
        parts += [f"**Real lesions**, {about}:", _real(real)]
    for name, one in table["methods"].items():
        if "describes" in one:
            said = {key: _percent(value) for key, value in one["describes"].items()}
            parts.append(
                f"{METHODS[name].name} describes the box of a target: the right finding in {said['finding']}% of "
                f"crops, the right side in {said['side']}%, both in {said['both']}%; {said['read']}% can be read."
            )
    return "\n\n".join(parts)


def _main(methods: dict[str, Any], track: Track) -> str:
    head = ["method", "granularity", "supervision", "accuracy (95%)", f"below {METHODS[OURS[track]].name} (95%)",
            "mean IoU", "given boxes", "pointing", "Dice", "AUROC", "weights", "steps", "ms a query",
            "seeds"]  # fmt: skip
    lines = []
    for name, one in methods.items():
        test, method = one["test"], METHODS[name]
        below = "" if "below_ours" not in test else (
            f"{_points(test['below_ours'])} ({_interval(test['below_ours_interval'], _points)})")  # fmt: skip
        lines.append([
            method.name, method.granularity, method.supervision,
            f"{_percent(test['box'])} ({_interval(test['box_interval'], _percent)})", below,
            _two(test["iou"]), _percent(test["given"]), _percent(test["pointing"]), _two(test["dice"]),
            _two(test["auroc"]),
            f"{one['weights'] / 1e6:.2f} M", f"{one['steps']:.0f}", f"{one['query_ms']:.1f}", str(len(one["seeds"])),
        ])  # fmt: skip
    return _table(head, lines)


def _details(methods: dict[str, Any]) -> str:
    head = ["method", "track", "small", "large", "other side", "other finding", "other look", "known words",
            "new words", "follows the words", "leak", "cut", "peak", "training, CPU s"]  # fmt: skip
    keys = ("small", "large", "rival_side", "rival_finding", "rival_look", "known_words", "new_words",
            "follows", "leak")  # fmt: skip
    return _table(head, [
        [METHODS[name].name, METHODS[name].track, *(_percent(one["test"][key]) for key in keys),
         f"{one['threshold']:.2f}", f"{one['peak']:.2f}",
         f"{one['train_cpu_s']:.0f}"]
        for name, one in methods.items()
    ])  # fmt: skip


def _real(methods: dict[str, Any]) -> str:
    head = ["method", "track", "accuracy (95%)", "pointing", "Dice"]
    return _table(head, [
        [METHODS[name].name, METHODS[name].track,
         f"{_percent(one['real']['box'])} ({_interval(one['real']['box_interval'], _percent)})",
         _percent(one["real"]["pointing"]), _two(one["real"]["dice"])]
        for name, one in methods.items()
    ])  # fmt: skip


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"


def _interval(ends: Sequence[float | None], shown: Callable[[float | None], str]) -> str:
    return f"{shown(ends[0])} to {shown(ends[1])}"
