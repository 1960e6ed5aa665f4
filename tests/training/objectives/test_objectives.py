"""What holds for every objective, and what is one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tips_med.errors import ConfigError
from tips_med.training.objectives.albef import Albef
from tips_med.training.objectives.base import Objective, Scaling, SharedTowers
from tips_med.training.objectives.clip import Clip
from tips_med.training.objectives.fine_tuned import FIRST_PART, FineTuned
from tips_med.training.objectives.flava import Codebook, Flava
from tips_med.training.objectives.glip import Glip, focal_loss
from tips_med.training.objectives.pali_x import PaliX
from tips_med.training.objectives.patch_token import PatchToken
from tips_med.training.objectives.tips import Tips, hide_blocks
from tips_med.training.objectives.x_vlm import XVlm

MAKERS: dict[str, Callable[[SharedTowers], Objective]] = {
    "clip": Clip,
    "albef": lambda towers: Albef(towers, Scaling(100)),
    "tips": lambda towers: Tips(towers, Scaling(100)),
    "flava": Flava,
    "x-vlm": XVlm,
    "glip": Glip,
    "pali-x": PaliX,
    "ours": PatchToken,
    "ours-boxes": lambda towers: PatchToken(towers, "boxes"),
    "ours-cells": lambda towers: PatchToken(towers, "boxes", fine=False),
    "ours-weak": lambda towers: PatchToken(towers, "sentences"),
    "ours-focal": lambda towers: PatchToken(towers, focal=True),
    "ours-weak-hard": lambda towers: PatchToken(towers, "sentences", hard=True),
    "clip-tuned": lambda towers: FineTuned(Clip(towers)),
}


@pytest.fixture(params=list(MAKERS))
def objective(request, towers) -> Objective:
    torch.manual_seed(0)
    return MAKERS[request.param](towers)


def test_losses_fall_and_nothing_is_left_without_a_gradient(objective, learn):
    parts = (0.0,) if not isinstance(objective, FineTuned) else (0.0, FIRST_PART)
    for part in parts:
        objective.at = lambda _, part=part: type(objective).at(objective, part)
        totals = learn(objective)
        assert all(torch.tensor(totals).isfinite())
        assert sum(totals[-3:]) < sum(totals[:3])
    without = [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    # Only words count for some: they pool no sentence.
    assert all(name.startswith("towers.text.pool") for name in without)


def test_maps_are_on_the_grid_of_pixels_and_scores_are_one_a_sentence(objective, batch):
    with torch.no_grad():
        view = objective.towers.look(batch.pixels, batch.offset_mm)
        maps, scores = objective.locate(batch.weak(), view), objective.score(batch.weak(), view)
    assert maps.shape == batch.target.shape
    assert maps.isfinite().all()
    assert scores.shape == batch.meaning.shape
    assert scores.isfinite().all()


def test_an_answer_is_of_its_sentence_alone(objective, batch):
    """Otherwise the sentences that are asked beside it would give it away."""
    objective.eval()
    one = batch.weak()
    alone = replace(one, words=one.words[:, :1], meaning=one.meaning[:, :1])
    with torch.no_grad():
        view = objective.towers.look(batch.pixels, batch.offset_mm)
        assert torch.allclose(objective.score(one, view)[:, :1], objective.score(alone, view), atol=1e-4)
        assert torch.allclose(objective.locate(one, view)[:, :1], objective.locate(alone, view), atol=1e-4)


def test_only_dense_objectives_ask_for_boxes_or_masks(objective, batch):
    view = objective.towers.look(batch.pixels, batch.offset_mm)
    objective.at(1.0)
    if objective.dense:
        with pytest.raises(ConfigError):
            objective.loss(batch.weak(), view)
    else:
        objective.loss(batch.weak(), view)


def test_image_forwards_are_as_many_as_said(objective, batch):
    objective.towers.seen = 0
    objective.loss(batch, objective.towers.look(batch.pixels, batch.offset_mm))
    views = objective.base.views if isinstance(objective, FineTuned) else objective.views
    assert objective.towers.seen == views * len(batch.pixels)


def test_ours_learns_where_a_sentence_is(towers, learn, batch):
    ours = PatchToken(towers)
    learn(ours, steps=60, rate=1e-2)
    with torch.no_grad():
        view = towers.look(batch.pixels, batch.offset_mm)
        maps = ours.locate(batch, view)
        there = batch.target > 0.5
        assert maps[there].mean() > 3 * maps[~there].mean()
        scores = ours.score(batch, view)
    assert scores[batch.present > 0].min() > scores[batch.present == 0].max()


def test_box_filled_targets_differ_from_masks_alone(towers, batch):
    batch.target[:, :, :, :, :8] = 0  # the outline is smaller than its box
    view = towers.look(batch.pixels, batch.offset_mm)
    masks, boxes = (PatchToken(towers, label) for label in ("masks", "boxes"))
    boxes.load_state_dict(masks.state_dict())
    of_masks, of_boxes = (float(one.loss(batch, view)["dense"].detach()) for one in (masks, boxes))
    assert of_boxes > of_masks + 0.01  # more has to be found


def test_cells_alone_leave_the_fine_features_out_of_the_map(towers, batch):
    ours = PatchToken(towers, "boxes", fine=False)
    with torch.no_grad():
        view = towers.look(batch.pixels, batch.offset_mm)
        other = replace(view, fine=torch.randn_like(view.fine))
        assert torch.equal(ours.locate(batch, view), ours.locate(batch, other))
    assert ours.weights == PatchToken(towers, "boxes").weights - sum(p.numel() for p in ours.head.to_fine.parameters())


def test_albef_keeps_a_queue_that_knows_what_is_true(towers, batch):
    albef = Albef(towers, Scaling(30))
    for _ in range(5):
        albef.loss(batch.weak(), towers.look(batch.pixels, batch.offset_mm))
    assert len(albef.queue) == 3
    assert torch.equal(albef.queue[0][2], batch.truth)
    albef.at(1.0)
    assert albef.distil == pytest.approx(0.4)


def test_tips_hides_blocks_as_air(batch):
    torch.manual_seed(0)
    hidden = hide_blocks(batch.pixels + 0.1)
    gone = (hidden == 0).all(2)
    blocks = gone.unfold(2, 16, 16).unfold(3, 16, 16).flatten(4).float().mean(-1)
    assert set(blocks.unique().tolist()) == {0.0, 1.0}


def test_visual_words_tell_cells_apart(batch):
    words = Codebook(batch.pixels.shape[2])(batch.pixels)
    assert words.shape == (3, 96)
    assert len(words.unique()) > 20


def test_the_focal_loss_turns_from_what_is_known_already():
    easy, hard = focal_loss(torch.tensor([4.0, -4.0]), torch.tensor([1.0, 1.0]))
    assert float(hard / easy) > 1e4


def test_pali_x_writes_words_of_the_vocabulary(towers, batch, learn):
    pali = PaliX(towers)
    learn(pali, steps=4)
    with torch.no_grad():
        view = towers.look(batch.pixels, batch.offset_mm)
    vocabulary = ("nodule", "mass", "left", "right", "lung", "in", "the")
    texts = pali.describe(batch.box[:, 0], view, vocabulary)
    assert len(texts) == 3
    assert all(word in vocabulary for text in texts for word in text.split())


def test_x_vlm_takes_the_other_finding_of_a_crop_for_wrong(towers, batch):
    vlm = XVlm(towers)
    there = batch.box.flatten(0, 1)[:, 0].isfinite().nonzero()[:, 0]
    crop = torch.arange(3).repeat_interleave(3)
    table = vlm._regions(batch, batch.box.flatten(0, 1), crop, there)
    assert table[0].tolist() == [1, -1, -1, 1, 0, -1, 1, 0, -1]


def test_fine_tuning_ends_the_own_loss(towers, batch):
    tuned = FineTuned(Clip(towers))
    view = towers.look(batch.pixels, batch.offset_mm)
    tuned.at(FIRST_PART - 0.01)
    assert set(tuned.loss(batch, view)) == {"contrast"}
    tuned.at(FIRST_PART)
    assert set(tuned.loss(batch, view)) == {"distance", "overlap", "there"}
