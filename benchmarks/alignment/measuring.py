"""From maps to numbers: one rule from map to box for every method, its two thresholds chosen on validation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from benchmarks.alignment.batches import Words, box_of, collate
from benchmarks.alignment.data import Crop
from tips_med.metrics import dice
from tips_med.metrics.boxes import box_iou
from tips_med.training.objectives.base import Objective

THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 20))
"""Shares of a map's height at which it is cut, that are tried on validation."""

PEAKS = (0.8, 0.9, 1.0)
"""Shares of a map's height that a part of it has to reach somewhere, that are tried on validation."""

DECOYS = 6
"""Boxes of other crops' findings among which those of a crop have to be chosen."""


def scaled(heat: np.ndarray) -> np.ndarray:
    """A map from 0 (its lowest place) to 1 (its highest); 0 everywhere if it is flat."""
    low, high = float(heat.min()), float(heat.max())
    return (heat - low) / (high - low) if high > low else np.zeros_like(heat)


@dataclass(frozen=True)
class Rule:
    """From map to mask, and so to box: the same for all methods.

    What reaches ``threshold`` falls into parts (8-connected); those are kept that reach ``peak`` somewhere, so that a
    finding in two parts can be found whole.

    Attributes:
        threshold: Share of the map's height, 0 to 1.
        peak: Share of the map's height, ``threshold`` to 1; with 1, the part with the highest place alone is kept.
    """

    threshold: float
    peak: float

    def marked(self, heat: np.ndarray) -> np.ndarray:
        """The mask of a map from 0 to 1, bool [y x]; of a flat one, nothing."""
        found: Any = ndimage.label(heat >= self.threshold, np.ones((3, 3)))
        labels, count = found
        highest = ndimage.maximum(heat, labels, np.arange(1, count + 1)) if count else ()
        return np.isin(labels, 1 + np.flatnonzero(np.asarray(highest) >= self.peak))


@dataclass(frozen=True, eq=False)
class Asked:
    """One sentence of a crop, and what a method answered.

    Attributes:
        crop: Number of the crop.
        sentence: Number of the sentence in it.
        heat: Map from 0 to 1, [y x].
        score: Logit of presence.
    """

    crop: int
    sentence: int
    heat: np.ndarray
    score: float


def answers(objective: Objective, crops: Sequence[Crop], words: Words, batch: int = 16) -> Iterator[Asked]:
    """Maps and scores of all sentences; every crop is encoded once."""
    objective.eval()
    for first in range(0, len(crops), batch):
        some = collate(crops[first : first + batch], words).weak()
        with torch.no_grad():
            image = objective.towers.look(some.pixels, some.offset_mm)
            maps = objective.locate(some, image).detach().float().numpy()[:, :, 0]
            scores = objective.score(some, image).detach().float().numpy()
        for n in range(len(maps)):
            for s in range(maps.shape[1]):
                yield Asked(first + n, s, scaled(maps[n, s]), float(scores[n, s]))


def candidates(crops: Sequence[Crop], seed: int = 0) -> list[np.ndarray]:
    """Boxes among which a sentence's is chosen: those of a crop's findings, then decoys; [box 4] for each crop.

    Decoys have the size and place of other crops' findings and overlap none of this crop's by more than 0.3.
    """
    own = [np.unique([box_of(m) for m in one.target if m.any()], axis=0) for one in crops]
    rng, chosen = np.random.default_rng(seed), []
    pool = np.concatenate(own)
    for boxes in own:
        decoys: list[np.ndarray] = []
        for n in rng.permutation(len(pool)):
            if max(box_iou(pool[n], box) for box in boxes) <= 0.3 and len(decoys) < DECOYS:
                decoys.append(pool[n])
        chosen.append(np.concatenate([boxes, decoys]) if decoys else boxes)
    return chosen


def box_score(heat: np.ndarray, box: np.ndarray) -> float:
    """What a map says for a box: its sum inside over the root of the area (Li 2021, ALBEF's grounding)."""
    rows, columns = heat.shape
    x0, x1 = (round(float(box[n]) * columns) for n in (0, 2))
    y0, y1 = (round(float(box[n]) * rows) for n in (1, 3))
    return float(heat[y0:y1, x0:x1].sum()) / max(1, (y1 - y0) * (x1 - x0)) ** 0.5


def choose_rule(asked: Sequence[Asked], crops: Sequence[Crop]) -> Rule:
    """The rule with the best box accuracy, and of equals the one with the best mean overlap."""
    there = [(a.heat, np.array(box_of(crops[a.crop].target[a.sentence]))) for a in asked
             if crops[a.crop].target[a.sentence].any()]  # fmt: skip
    best, chosen = (-1.0, -1.0), Rule(0.5, 1.0)
    for rule in (Rule(threshold, peak) for threshold in THRESHOLDS for peak in PEAKS if peak >= threshold):
        ious = np.array([box_iou(np.array(box_of(rule.marked(heat))), box) for heat, box in there])
        value = float((ious >= 0.5).mean()), float(ious.mean())
        if value > best:
            best, chosen = value, rule
    return chosen


def rows_of(asked: Sequence[Asked], crops: Sequence[Crop], rule: Rule) -> list[dict[str, Any]]:
    """One row of numbers for each sentence; of what is not there, its score alone."""
    given, rows = candidates(crops), []
    cut = {(a.crop, a.sentence): rule.marked(a.heat) for a in asked}
    for a in asked:
        crop = crops[a.crop]
        sentence, truth = crop.sentences[a.sentence], crop.target[a.sentence]
        row: dict[str, Any] = {
            "crop": a.crop,
            "body": crop.body,
            "rival": crop.rival,
            "kind": sentence.kind,
            "new_words": sentence.new_words,
            "score": round(a.score, 4),
        }
        if truth.any():
            mask, box = cut[a.crop, a.sentence], np.array(box_of(truth))
            chances = [box_score(a.heat, one) for one in given[a.crop]]
            highest = a.heat == a.heat.max()
            own = dice(mask[None], truth[None])
            row |= {
                "iou": round(box_iou(np.array(box_of(mask)), box), 4),
                "given": float(np.allclose(given[a.crop][int(np.argmax(chances))], box)),
                "pointing": round(float(truth[highest].mean()), 4),
                "dice": round(own, 4),
                "cells": int(truth.sum()),
            }
            others = [
                n for n, one in enumerate(crop.sentences) if {one.kind, sentence.kind} == {"target", "distractor"}
            ]
            if others:
                other = cut[a.crop, others[0]]
                row |= {
                    "follows": float(own > dice(other[None], truth[None])),
                    "leak": round(float(other[truth].mean()), 4),
                }
        rows.append(row)
    return rows


def query_seconds(objective: Objective, crops: Sequence[Crop], words: Words) -> float:
    """Median seconds of one further sentence about a crop that is encoded already, on the threads that torch has."""
    objective.eval()
    spent = []
    for crop in crops[:12]:
        one = replace(crop, sentences=crop.sentences[:1], target=crop.target[:1], known=crop.known[:1])
        batch = collate([one], words).weak()
        with torch.no_grad():
            image = objective.towers.look(batch.pixels, batch.offset_mm)
            begun = time.perf_counter()
            objective.locate(batch, image)
            spent.append(time.perf_counter() - begun)
    return float(np.median(spent[2:] or spent))
