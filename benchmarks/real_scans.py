"""How a model does on real scans with labels: the table of the model card.

python -m benchmarks.real_scans DATA [--model WEIGHTS] [--out TABLE.json]

DATA holds the cases of ``radiology_configs/pretrain_chest_ct.yaml``. Cases that were trained on are marked so: their
figures show that the model learned, and not how it does on others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import ndimage

from tips_med.configs import config_path
from tips_med.encoders.study import EncodedStudy
from tips_med.geometry import transform_points, voxel_volume_mm3
from tips_med.grounding import Grounding, encode, ground
from tips_med.grounding.instances import long_axis_mm
from tips_med.loading import open_model
from tips_med.model import GroundingModel
from tips_med.readers import read_scan

NOT_REPORTED = (
    "ground-glass opacity",
    "consolidation",
    "pleural effusion",
    "pneumothorax",
    "atelectasis",
    "emphysema",
    "reticulation",
    "honeycombing",
    "cavity",
)
"""Findings that nobody outlined in these scans. Unlabelled is not absent, but most of these are."""

MIN_VOLUME_ML = 0.05
"""Outlined components smaller than this are fragments of a consensus."""


def labels(path: Path) -> np.ndarray:
    return np.nan_to_num(read_scan(path).voxels).round().astype(np.uint8)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def inside(answer: Grounding, mask: np.ndarray) -> bool:
    index = transform_points(np.linalg.inv(answer.scan.lps_from_kji), np.array(answer.peak_lps))[0]
    at = np.clip(np.rint(index).astype(int), 0, np.array(mask.shape) - 1)
    return bool(mask[tuple(at)])


def lungs(study: EncodedStudy, truth: np.ndarray, model: GroundingModel) -> dict[str, Any]:
    row = {}
    for side, label, other in (("left", 2, 1), ("right", 1, 2)):
        mask = ground(study, f"{side} lung", model).mask
        row[f"{side}_lung_dice"] = round(dice(mask, truth == label), 4)
        row[f"{side}_lung_wrong_side"] = round(float((mask & (truth == other)).sum() / max(1, mask.sum())), 5)
    return row


def sided(piece: np.ndarray, truth: np.ndarray) -> tuple[str, str]:
    """The side of a lesion by the lung around it, and the other one."""
    near = ndimage.grey_dilation(truth, (1, 7, 7))[piece]
    return ("left", "right") if (near == 2).sum() > (near == 1).sum() else ("right", "left")


def every_lesion(
    study: EncodedStudy, outlined: np.ndarray, truth: np.ndarray, model: GroundingModel
) -> list[dict[str, Any]]:
    """Every outlined lesion, queried as a lesion of its side: whether a component overlaps it, and how well it fits."""
    ml = voxel_volume_mm3(study.scan.lps_from_kji) / 1000
    pieces, number = ndimage.label(outlined, np.ones((3, 3, 3)))
    rows = []
    for label in range(1, number + 1):
        piece = pieces == label
        if piece.sum() * ml < MIN_VOLUME_ML:
            continue
        side, _ = sided(piece, truth)
        answer = ground(study, f"lesion in the {side} lung", model)
        on_it = np.unique(answer.labels[piece & (answer.labels > 0)])
        marked = np.isin(answer.labels, on_it) & (answer.labels > 0)
        rows.append(
            {
                "side": side,
                "outlined_ml": round(float(piece.sum() * ml), 2),
                "state": answer.presence.state,
                "found": bool(len(on_it)),
                "dice": round(dice(marked, piece), 3) if len(on_it) else 0.0,
                "beside_ml": round(float((answer.mask & ~outlined & ~marked).sum() * ml), 2),
            }
        )
    return rows


def lesion(study: EncodedStudy, outlined: np.ndarray, truth: np.ndarray, model: GroundingModel) -> dict[str, Any]:
    """The largest outlined lesion, queried by its size's name, on its side and on the other."""
    pieces, _ = ndimage.label(outlined, np.ones((3, 3, 3)))
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    side, other = sided(largest, truth)
    affine = study.scan.lps_from_kji
    name = "mass" if long_axis_mm(largest, affine) >= 30 else "nodule"
    answer = ground(study, f"{name} in the {side} lung", model)
    swapped = ground(study, f"{name} in the {other} lung", model)
    on_side = outlined & (ndimage.grey_dilation(truth, (1, 7, 7)) == (2 if side == "left" else 1))
    return {
        "asked": f"{name}, {side}",
        "outlined_ml": round(float(largest.sum()) * voxel_volume_mm3(affine) / 1000, 1),
        "state": answer.presence.state,
        "probability": round(answer.probability, 2),
        "peak_inside": inside(answer, largest),
        "dice": round(dice(answer.mask, on_side), 3),
        "other_side": swapped.presence.state if not (outlined & ~on_side).any() else "has one too",
    }


def not_reported(study: EncodedStudy, model: GroundingModel) -> dict[str, Any]:
    ml = voxel_volume_mm3(study.scan.lps_from_kji) / 1000
    lexicon = model.lexicon
    asked = [query for query in NOT_REPORTED if lexicon.parse(query).finding.id in model.card.findings]
    answers = [ground(study, query, model) for query in asked]
    return {query: f"{a.presence.state} {a.mask.sum() * ml:.1f} ml" for query, a in zip(asked, answers)}


def rows_of(data: Path, case: dict[str, Any], held_out: bool, model: GroundingModel) -> Iterator[dict[str, Any]]:
    study = encode(read_scan(data / case["scan"]), model)
    row: dict[str, Any] = {"case": case["name"], "held_out": held_out}
    truth = labels(data / case["lungs"]) if "lungs" in case else None
    if truth is not None:
        row |= lungs(study, truth, model)
    if "votes" in case and truth is not None:
        outlined = labels(data / case["votes"]) >= case["outlined_from"]
        row |= lesion(study, outlined, truth, model)
        row["lesions"] = every_lesion(study, outlined, truth, model)
    yield row | not_reported(study, model)


def run(
    about: str | None, rows_of: Callable[[Path, dict[str, Any], bool, GroundingModel], Iterator[dict[str, Any]]]
) -> None:
    """The command line of this and of ``benchmarks.robustness``: prints the rows of every case, and writes them."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    model = open_model(arguments.model)
    config = yaml.safe_load(config_path("", "pretrain_chest_ct").read_text())
    rows = []
    for case in config["cases"]:
        for row in rows_of(arguments.data, case, case["name"] in config["held_out"], model):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps({"model": model.identity, "rows": rows}, indent=1))


if __name__ == "__main__":
    run(__doc__, rows_of)
