"""The same sentences, the map of every method one below the other: the picture of docs/alignment.md.

    python -m benchmarks.alignment.figure --out OUT [--seed 0] [--crops 3] [--picture FILE.png]

OUT is that of ``python -m benchmarks.alignment --weights``. The crops are the first of each kind of distractor, not
chosen ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment.__main__ import rebuilt
from benchmarks.alignment.batches import Words, box_of
from benchmarks.alignment.data import MIDDLE, Crop, load, vocabulary
from benchmarks.alignment.measuring import Rule, answers
from benchmarks.alignment.methods import METHODS
from benchmarks.alignment.training import Budget

SHOWN = (0, 2)
"""Sentences of a crop that are shown: the first about the target, and the one about the distractor."""


def first_of_each(crops: list[Crop], number: int) -> list[Crop]:
    """The first crops with each kind of distractor."""
    found: dict[str, Crop] = {}
    for crop in crops:
        found.setdefault(crop.rival, crop)
    return list(found.values())[:number]


def main() -> None:
    """Draws it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crops", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=None)
    given = parser.parse_args()
    budget = Budget(**json.loads((given.out / "settings.json").read_text())["budget"])
    words = Words(vocabulary(load(given.out / "data" / "train.safetensors")))
    crops = first_of_each(load(given.out / "data" / "test.safetensors"), given.crops)
    names = [n for n in METHODS if (given.out / "runs" / f"{n}-{given.seed}.safetensors").is_file()]
    if not names:
        raise SystemExit(f"no weights in {given.out / 'runs'}: run python -m benchmarks.alignment --weights")
    shown = [(n, s) for n in range(len(crops)) for s in SHOWN]
    height, width = crops[0].target.shape[1:]
    size = 1.6 * len(shown) + 1, 1.6 * height / width * (1 + len(names)) + 0.5
    figure, axes = plt.subplots(1 + len(names), len(shown), figsize=size, squeeze=False)
    for (n, s), column in zip(shown, axes.T):
        for axis in column:
            axis.imshow((crops[n].volume_hu[MIDDLE] + 1000.0) / 1400, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].contour(crops[n].target[s], [0.5], colors="lime", linewidths=1.3)
        column[0].set_title("\n".join(_lines(crops[n].sentences[s].words)), fontsize=7)
    _label(axes[0][0], "truth")
    for row, name in zip(axes[1:], names):
        _label(row[0], METHODS[name].name)
        run = json.loads((given.out / "runs" / f"{name}-{given.seed}.json").read_text())
        objective = rebuilt(given.out, name, given.seed, words, budget)
        for asked in answers(objective, crops, words):
            if (asked.crop, asked.sentence) not in shown:
                continue
            axis = row[shown.index((asked.crop, asked.sentence))]
            axis.imshow(np.ma.masked_less(asked.heat, 0.05), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            x0, y0, x1, y1 = box_of(Rule(run["threshold"], run["peak"]).marked(asked.heat))
            box = (x0 * width - 0.5, y0 * height - 0.5), (x1 - x0) * width, (y1 - y0) * height
            axis.add_patch(Rectangle(*box, fill=False, edgecolor="cyan", linewidth=0.8))
    figure.tight_layout(pad=0.3)
    picture = given.picture or given.out / "maps.png"
    figure.savefig(picture, dpi=80, bbox_inches="tight")
    with Image.open(picture) as drawn:
        smaller = drawn.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
    smaller.save(picture, optimize=True)
    print(picture)


def _label(axis: Any, name: str) -> None:
    """The name of a method, before its row."""
    axis.set_ylabel("\n".join(_lines(name, 14)), fontsize=7, rotation=0, ha="right", va="center")


def _lines(words: str, width: int = 24) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    main()
