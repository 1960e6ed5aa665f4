"""The benchmark itself: 20 steps of each method on 40 crops, and what a perfect map scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.alignment.batches import Words, box_of, collate, endless
from benchmarks.alignment.data import MEANINGS, MIDDLE, SENTENCES, SHAPE, SPEC, load, save, vocabulary
from benchmarks.alignment.measuring import Rule, answers, candidates, choose_rule, rows_of, scaled
from benchmarks.alignment.methods import METHODS, OURS
from benchmarks.alignment.real import lesions_of
from benchmarks.alignment.report import drawn, markdown, merged, summary
from benchmarks.alignment.training import Budget, fit, load_weights, save_weights
from tests.training.objectives.conftest import TINY
from tips_med.synthesis.anatomy import Anatomy
from tips_med.training.objectives.base import Objective, SharedTowers

BATCH = 2


class Rigged(Objective):
    """Knows the truth, as no objective may."""

    def __init__(self, towers, crops, words):
        super().__init__(towers)
        self.whole = collate(crops, words)
        self.at_crop = 0

    def loss(self, batch, image):
        raise NotImplementedError

    def locate(self, batch, image):
        return self.whole.target[self.at_crop : self.at_crop + len(batch.words)]

    def score(self, batch, image):
        first, self.at_crop = self.at_crop, self.at_crop + len(batch.words)
        return self.whole.present[first : self.at_crop]


@pytest.fixture(scope="module")
def words(crops) -> Words:
    return Words(vocabulary(crops))


def towers_of(words: Words) -> SharedTowers:
    torch.manual_seed(0)
    return SharedTowers(TINY, words.vocabulary, layers=1)


@pytest.mark.parametrize("name", list(METHODS))
def test_losses_of_every_method_fall_and_every_map_is_on_the_grid(name, crops, words):
    method = METHODS[name]
    views = 2 if name.split("-")[0] in ("tips", "flava") else 1
    budget = Budget(forwards=20 * BATCH * views, batch=BATCH, learning_rate=2e-3)
    objective = method.make(towers_of(words), budget)
    same = crops[:BATCH]  # in every step, so that losses of different steps are of the same crops
    history = fit(objective, same, words, budget, 0, method.track == "weak", lambda _: None)
    # Half of a fine-tuning takes one forward a step where its own training took two.
    assert 20 <= len(history) <= 40
    own = [row for row in history if set(row) == set(history[0])]
    totals = [row["loss"] for row in own]
    assert np.isfinite(totals).all()
    assert np.mean(totals[-6:]) < np.mean(totals[:2])
    found = list(answers(objective, crops[:4], words, batch=4))
    assert [(one.crop, one.sentence) for one in found] == [(c, s) for c in range(4) for s in range(SENTENCES)]
    assert all(one.heat.shape == SHAPE[1:] and np.isfinite(one.heat).all() for one in found)


def test_a_rigged_perfect_map_scores_one(crops, words):
    asked = list(answers(Rigged(towers_of(words), crops, words), crops, words))
    rows = rows_of(asked, crops, choose_rule(asked, crops))
    there = [row for row in rows if "iou" in row]
    assert len(there) == 3 * len(crops)
    for key in ("iou", "given", "pointing", "dice"):
        assert {row[key] for row in there} == {1.0}
    assert all(row["follows"] == 1.0 and row["leak"] == 0.0 for row in there)
    assert all((row["score"] > 0) == ("iou" in row) for row in rows)


def test_crops_are_the_same_for_the_same_seed_and_hold_what_they_say(crops, tmp_path):
    digests = {save(crops, tmp_path / f"{n}.safetensors") for n in range(2)}
    assert len(digests) == 1
    again = load(tmp_path / "0.safetensors")
    assert all(np.array_equal(a.target, b.target) and a.sentences == b.sentences for a, b in zip(crops, again))
    for crop in crops:
        kinds = [one.kind for one in crop.sentences]
        assert kinds == ["target", "target", "distractor", "false"]
        assert [bool(mask.any()) for mask in crop.target] == [True, True, True, False]
        assert [int(crop.truth[one.meaning]) for one in crop.sentences] == [1, 1, 1, -1]
        assert not (crop.target[0] & crop.target[2]).any()
        assert all(MEANINGS[one.meaning].finding for one in crop.sentences)


def test_words_that_training_never_has_are_left_out():
    words = Words(("left", "nodule"))
    assert words.indices(["left rounded nodule", "opacity"]).tolist() == [[1, 2], [1, 0]]


def test_the_order_of_crops_follows_from_the_seed_alone(crops, words):
    first, second, other = (next(endless(crops, words, 8, seed)) for seed in (0, 0, 1))
    assert torch.equal(first.pixels, second.pixels)
    assert not torch.equal(first.pixels, other.pixels)
    batches = endless(crops, words, 8, 0)
    seen = torch.cat([next(batches).offset_mm for _ in range(5)])
    assert len(seen.unique(dim=0)) == 40  # each crop once before any comes again


def test_the_rule_takes_the_parts_that_reach_high_enough():
    heat = np.zeros((6, 8))
    heat[1:3, 1:3], heat[4, 6] = 0.85, 1.0
    mask = Rule(0.5, 1.0).marked(scaled(heat))
    assert mask.sum() == 1
    assert box_of(mask) == [6 / 8, 4 / 6, 7 / 8, 5 / 6]
    assert Rule(0.5, 0.8).marked(scaled(heat)).sum() == 5
    assert not Rule(0.5, 0.8).marked(scaled(np.ones((6, 8)))).any()  # a flat map marks nothing


def test_decoys_do_not_cover_what_has_to_be_found(crops):
    for crop, boxes in zip(crops, candidates(crops)):
        assert any(np.allclose(box, box_of(crop.target[0])) for box in boxes)
        assert len(boxes) >= 4


def run_of(name: str, seed: int, ious: list[float]) -> dict:
    row = {"rival": "side", "kind": "target", "new_words": False, "given": 1.0, "pointing": 1.0, "dice": 0.5,
           "follows": 1.0, "leak": 0.0, "cells": 20}  # fmt: skip
    test = [{**row, "crop": n, "body": f"b{n // 2}", "score": 1.0, "iou": iou} for n, iou in enumerate(ious)]
    none = {"crop": 0, "body": "b0", "rival": "side", "kind": "false", "new_words": False, "score": -1.0}
    return {"method": name, "seed": seed, "steps": 5, "threshold": 0.5, "peak": 1.0, "weights": 10, "train_s": 1.0,
            "train_cpu_s": 1.0, "query_ms": 1.0, "test": [*test, none]}  # fmt: skip


def test_the_report_pairs_methods_over_bodies():
    ours = [run_of(OURS["dense"], seed, [0.6] * 8) for seed in (0, 1)]
    theirs = [run_of("x-vlm", 0, [0.6, 0.6, 0.1, 0.1] * 2), run_of("x-vlm", 1, [0.6] * 8)]
    table = summary([*ours, *theirs], {})
    vlm = table["methods"]["x-vlm"]["test"]
    assert vlm["box"] == 0.75  # mean over seeds of 0.5 and 1
    assert vlm["below_ours"] == 0.25
    low, high = vlm["below_ours_interval"]
    assert 0.0 <= low < 0.25 < high <= 0.5
    assert vlm["auroc"] == 1.0
    assert vlm["new_words"] is None  # no sentence has any
    text = markdown(table)
    assert "| X-VLM | dense" not in text.split("What the box accuracy")[0]
    assert "| X-VLM | region - text | boxes | 75.0 (" in text
    assert "+25.0" in text
    json.dumps(table, allow_nan=False)


def test_a_method_with_other_seeds_is_not_compared():
    table = summary([run_of("ours", 0, [0.6] * 4), run_of("glip", 1, [0.1] * 4)], {})
    assert "below_ours" not in table["methods"]["glip"]["test"]
    assert "below_ours" not in table["methods"]["ours"]["test"]


def test_intervals_draw_bodies_and_not_sentences():
    rows = merged([run_of("ours", 0, [0.6] * 4 + [0.1] * 4)], "test")
    low, high = drawn(rows, None, "box")
    assert (low, high) == (0.0, 1.0)  # four bodies, all or nothing each
    assert np.isnan(drawn([row for row in rows if row["body"] == "b0"], None, "box")).all()


def test_weights_that_are_shared_are_kept_once_and_come_back(words, tmp_path):
    made = [METHODS["albef-tuned"].make(towers_of(words), Budget(100)) for _ in range(2)]
    with torch.no_grad():
        for value in made[0].parameters():
            value += 0.25
    save_weights(made[0], tmp_path / "weights.safetensors")
    load_weights(made[1], tmp_path / "weights.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(made[0].state_dict().values(), made[1].state_dict().values()))
    with pytest.raises(ValueError, match="something else"):
        load_weights(METHODS["clip"].make(towers_of(words), Budget(100)), tmp_path / "weights.safetensors")


def test_a_real_lesion_is_cut_out_where_it_is():
    shape = (9, 120, 160)
    volume, lesions = np.full(shape, -850, np.int16), np.zeros(shape, np.uint8)
    volume[:, 10:110, 10:150] = 40  # a body
    volume[:, 30:90, 20:70] = volume[:, 30:90, 90:140] = -850  # and its lungs
    k, j, i = np.indices(shape)
    lesions[(k - 4) ** 2 + (j - 60) ** 2 + (i - 120) ** 2 <= 16] = 1
    lesions[(k - 4) ** 2 + (j - 60) ** 2 + (i - 40) ** 2 <= 9] = 2
    volume[lesions > 0] = 60
    body = Anatomy("body", volume, None, lesions, (20.0, 40.0), np.zeros(shape, bool), SPEC.spacing_mm)
    one, other = lesions_of(body, np.random.default_rng(0))
    assert {MEANINGS[s.meaning].side for s in one.sentences} == {"left"}
    assert {MEANINGS[s.meaning].finding for s in one.sentences} == {"nodule"}
    assert {(MEANINGS[s.meaning].finding, MEANINGS[s.meaning].side) for s in other.sentences} == {("mass", "right")}
    assert one.target[0].sum() == (lesions[4] == 1).sum()
    assert (one.volume_hu[MIDDLE][one.target[0]] == 60).all()
    x = np.flatnonzero(one.target[0].any(0)).mean()
    assert one.offset_mm[1] + 2.5 * x == pytest.approx(2.5 * (120 - body.middle_yx[1]))
    lesions[(k - 4) ** 2 + (j - 40) ** 2 + (i - 120) ** 2 <= 16] = 3
    crowded = Anatomy("body", volume, None, lesions, (20.0, 40.0, 20.0), np.zeros(shape, bool), SPEC.spacing_mm)
    assert len(lesions_of(crowded, np.random.default_rng(0))) == 1  # two on the left: no sentence names one alone


def test_a_weak_batch_of_crops_has_no_boxes(crops, words):
    batch = collate(crops[:2], words)
    assert batch.weak().box is None
    assert replace(batch).box is not None
    assert batch.box[:, :3].isfinite().all()
    assert batch.box[:, 3].isnan().all()
