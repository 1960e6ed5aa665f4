"""Figures of the shipped weights, as the `model-index` of a model card on the hub: tips_med/weights/*.results.json.

    python -m benchmarks.model_index

They are taken from docs/measurements, and only from files that were measured with these very weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tips_med.model import load_model

MEASUREMENTS = Path(__file__).resolve().parents[1] / "docs" / "measurements"
OUT = Path(__file__).resolve().parents[1] / "tips_med" / "weights" / "chest_ct.results.json"
_HELD_OUT = {
    "type": "tcia-held-out",
    "name": "public chest CTs of held-out patients (what they show served the calibration)",
}
_ALTERED = {"type": "tcia-altered", "name": "two held-out chest CTs, altered in 22 ways"}


def result(task: str, kind: str, dataset: dict[str, str], metrics: list[tuple[str, str, float]]) -> dict[str, Any]:
    """One entry of a model-index."""
    return {
        "task": {"type": kind, "name": task},
        "dataset": dict(dataset),
        "metrics": [{"type": type_, "name": name, "value": round(value, 3)} for type_, name, value in metrics],
    }


def real_scans(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lungs and lesions of the held-out patients of docs/measurements/real.json."""
    held_out = [row for row in rows if row["held_out"]]
    lungs = [row[f"{side}_lung_dice"] for row in held_out for side in ("left", "right") if f"{side}_lung_dice" in row]
    asked = [row for row in held_out if "dice" in row]
    peaks = [float(row["peak_inside"]) for row in asked]
    return [
        result(
            "Outline the left and the right lung", "image-segmentation", _HELD_OUT,
            [("dice", f"mean Dice of {len(lungs)} lungs", sum(lungs) / len(lungs))],
        ),
        result(
            "Find the largest lesion, asked for by name and side", "image-segmentation", _HELD_OUT,
            [
                ("dice", f"mean Dice of {len(asked)} lesions", sum(row["dice"] for row in asked) / len(asked)),
                ("pointing", f"peak inside, of {len(asked)} lesions", sum(peaks) / len(peaks)),
            ],
        ),
    ]  # fmt: skip


def sides(ways: dict[str, Any]) -> dict[str, Any]:
    """Sides named wrongly, from docs/measurements/trust.json."""
    named = sum(way["count"].get("sides named", 0) for way in ways.values())
    wrong = sum(way["count"].get("side wrong", 0) for way in ways.values())
    return result(
        "Name the side", "image-classification", _ALTERED,
        [("wrong-side", f"share of wrong sides, of {named}", wrong / named)],
    )  # fmt: skip


def results(*same: str) -> list[dict[str, Any]]:
    """All figures that belong to weights; those of other weights are left out.

    Args:
        *same: SHA-256 of the weights, and of a file with the same weights and the same balanced calibration.
    """
    real, trust = (json.loads((MEASUREMENTS / f"{name}.json").read_text()) for name in ("real", "trust"))
    found = []
    if any(one[:12] in real["model"] for one in same):
        found += real_scans(real["rows"])
    if any(one[:12] in trust["model"] for one in same):
        found.append(sides(trust["ways"]))
    return found


def main() -> None:
    model = load_model()
    earlier = model.card.trained.get("calibration_kept_from")
    content = {"weights_sha256": model.sha256, "results": results(*filter(None, (model.sha256, earlier)))}
    OUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
