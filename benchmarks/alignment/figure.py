"""The same sentences, the map of every method side by side: the picture of docs/alignment.md.

    python -m benchmarks.alignment.figure --out OUT [--seed 0] [--crops 3] [--picture FILE.png]

OUT is that of ``python -m benchmarks.alignment --weights``. The crops are the first of each kind of distractor, not
chosen ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.alignment.__main__ import rebuilt
from benchmarks.alignment.batches import Words, box_of
from benchmarks.alignment.data import MIDDLE, Crop, load, vocabulary
from benchmarks.alignment.measuring import Rule, answers
from benchmarks.alignment.methods import METHODS
from benchmarks.alignment.training import Budget


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
    columns = 1 + len(names)
    figure, axes = plt.subplots(2 * len(crops), columns, figsize=(1.7 * columns, 2.9 * len(crops)), squeeze=False)
    for row, crop in enumerate(c for c in crops for _ in range(2)):
        image = (crop.volume_hu[MIDDLE] + 1000.0) / 1400
        sentence = crop.sentences[0 if row % 2 == 0 else 2]
        for axis in axes[row]:
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row][0].contour(crop.target[0 if row % 2 == 0 else 2], [0.5], colors="lime", linewidths=0.8)
        axes[row][0].set_ylabel("\n".join(_lines(sentence.words)), fontsize=6)
        axes[row][0].set_title("truth" if row == 0 else "", fontsize=7)
    height, width = crops[0].target.shape[1:]
    for column, name in enumerate(names, start=1):
        run = json.loads((given.out / "runs" / f"{name}-{given.seed}.json").read_text())
        objective = rebuilt(given.out, name, given.seed, words, budget)
        axes[0][column].set_title(METHODS[name].name.replace(", ", ",\n"), fontsize=7)
        for asked in answers(objective, crops, words):
            if asked.sentence not in (0, 2):
                continue
            axis = axes[2 * asked.crop + (asked.sentence == 2)][column]
            axis.imshow(np.ma.masked_less(asked.heat, 0.05), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            x0, y0, x1, y1 = box_of(Rule(run["threshold"], run["peak"]).marked(asked.heat))
            box = (x0 * width - 0.5, y0 * height - 0.5), (x1 - x0) * width, (y1 - y0) * height
            axis.add_patch(Rectangle(*box, fill=False, edgecolor="cyan", linewidth=0.8))
    figure.tight_layout(pad=0.3)
    picture = given.picture or given.out / "maps.png"
    figure.savefig(picture, dpi=130)
    print(picture)


def _lines(words: str, width: int = 24) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    main()
