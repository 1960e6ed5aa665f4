"""The second test: outlined real lesions, each in the slab in which it is largest.

Nothing here is trained on: all methods know painted torsos alone. Lesions are called nodule or mass by their size (30
mm), with their side; a lesion that shares its slab and side with another one is left out, as no sentence would name it
alone. What nobody outlined is not absent, so that no sentence here is false.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.alignment.data import MEANING, MEANINGS, MIDDLE, SHAPE, SPEC, Crop, write
from benchmarks.real_scans import labels
from tips_med.configs import config_path
from tips_med.query import Side
from tips_med.readers import read_scan
from tips_med.synthesis.anatomy import Anatomy, make_anatomy
from tips_med.synthesis.language import PhraseSlots

WORDINGS = 4
LEAST_CELLS = 6
"""A lesion fills at least so many pixels of its slab: 37 mm2."""

MASS_MM = 30.0


def real_crops(data: Path, seed: int = 0) -> list[Crop]:
    """All lesions of the cases that ``pretrain_chest_ct.yaml`` lists, as crops.

    Args:
        data: Folder of the cases.
        seed: Seed of the wordings.
    """
    rng, crops = np.random.default_rng([seed, 9]), []
    for case in yaml.safe_load(config_path("", "pretrain_chest_ct").read_text())["cases"]:
        if "votes" in case:
            crops += lesions_of(body_of(data, case), rng)
    return crops


def body_of(data: Path, case: dict[str, Any]) -> Anatomy:
    """A case with its outlined lesions on the working grid."""
    votes = labels(data / case["votes"])
    outlined = votes >= case["outlined_from"]
    return make_anatomy(case["name"], read_scan(data / case["scan"]), SPEC, None, outlined, (votes > 0) & ~outlined)


def lesions_of(body: Anatomy, rng: np.random.Generator) -> list[Crop]:
    """A crop for each lesion of a body that is alone on its side of its slab."""
    crops = []
    sides = {n: _side(body, body.lesions == n) for n in range(1, len(body.lesion_mm) + 1)}
    for number, size_mm in enumerate(body.lesion_mm, start=1):
        mask = body.lesions == number
        slab = int(mask.sum((1, 2)).argmax())
        others = set(np.unique(body.lesions[slab])) - {0, number}
        if mask[slab].sum() < LEAST_CELLS or any(sides[int(n)] == sides[number] for n in others):
            continue
        finding = "mass" if size_mm > MASS_MM else "nodule"
        meaning = MEANING[PhraseSlots(finding=finding, side=sides[number])]
        volume, target, ignored, offset_mm = _cut(body, slab, mask)
        truth = np.zeros(len(MEANINGS), np.int8)
        truth[meaning] = 1
        sentences = tuple(write(meaning, rng, "target", n >= WORDINGS // 2) for n in range(WORDINGS))
        known = ~ignored | target
        crops.append(
            Crop(volume, offset_mm, np.stack([target] * WORDINGS), np.stack([known] * WORDINGS), truth, sentences,
                 body.name, "none")
        )  # fmt: skip
    return crops


def _side(body: Anatomy, mask: np.ndarray) -> Side:
    """The side of a lesion by the middle of the body; x grows to the patient's left."""
    return "left" if float(np.nonzero(mask)[2].mean()) > body.middle_yx[1] else "right"


def _cut(
    body: Anatomy, slab: int, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:  # fmt: skip
    """A crop around the middle of the body, moved until the lesion is in it; air beyond the scan."""
    _, rows, columns = SHAPE
    start = []
    for size, middle, axis in ((rows, body.middle_yx[0], 1), (columns, body.middle_yx[1], 2)):
        where = np.flatnonzero(mask[slab].any(axis=2 - axis))
        first = round(middle - size / 2)
        start.append(int(np.clip(first, where[-1] + 4 - size, where[0] - 4)))
    slabs = np.clip(np.arange(slab - MIDDLE, slab + MIDDLE + 1), 0, len(body.volume_hu) - 1)

    def cut(plane: np.ndarray, fill: float) -> np.ndarray:
        wide = np.pad(plane, ((rows, rows), (columns, columns)), constant_values=fill)
        y, x = start[0] + rows, start[1] + columns
        return wide[y : y + rows, x : x + columns]

    volume = np.stack([cut(body.volume_hu[k], -1024) for k in slabs]).astype(np.int16)
    offset_mm = tuple(
        (first - middle) * mm for first, middle, mm in zip(start, body.middle_yx, body.spacing_mm[1:])
    )  # fmt: skip
    target, ignored = cut(mask[slab], 0).astype(bool), cut(body.ignored[slab], 0).astype(bool)
    return volume, target, ignored, (float(offset_mm[0]), float(offset_mm[1]))
