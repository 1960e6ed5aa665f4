from __future__ import annotations

import torch

from tips_med.training.losses import map_loss, patch_loss, presence_loss
from tips_med.training.matching import patch_to_text_loss, weak_loss


def maps(shape=(1, 2, 8, 8)):
    target = torch.zeros(shape)
    target[:, :, 2:5, 2:5] = 1
    return target


def test_a_right_map_costs_less_than_an_empty_one_and_that_less_than_a_wrong_one():
    target, known = maps(), torch.ones(1, 2, 8, 8)
    right, empty, wrong = (
        map_loss(logits, target, known) for logits in (20 * target - 10, -10 + 0 * target, 10 - 20 * target)
    )
    assert right < 0.01 < empty < wrong


def test_unknown_cells_have_no_gradient():
    target, known = maps(), torch.ones(1, 2, 8, 8)
    known[..., 4:] = 0
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    (map_loss(logits, target, known) + patch_loss(logits, target, known)).sum().backward()
    assert logits.grad[..., 4:].abs().max() == 0
    assert logits.grad[..., :4].abs().max() > 0


def test_an_absent_phrase_has_no_dice_term():
    """Nothing marked where nothing is costs nothing; a Dice term would never let it."""
    nothing = torch.zeros(1, 2, 8, 8)
    assert map_loss(nothing - 20, nothing, nothing + 1) < 1e-6


def test_the_patch_target_is_how_much_is_covered():
    target, known = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    target[..., :4, :2] = 1  # half of the first patch of 4 x 4
    cover = torch.tensor([[0.5, 1e-6], [1e-6, 1e-6]])[None, None]
    best = patch_loss(cover.logit(), target, known)
    for other in (0.3, 0.7):
        moved = cover.clone()
        moved[..., 0, 0] = other
        assert patch_loss(moved.logit(), target, known) > best


def test_a_weak_pair_is_judged_by_its_highest_cells_and_others_are_left_alone():
    logits = torch.full((1, 2, 2, 10, 10), -6.0, requires_grad=True)
    presence, used = torch.tensor([[1.0, torch.nan]]), torch.ones(1, 2)
    weak_loss(logits, presence, used, pool_share=0.01).backward()
    assert (logits.grad[0, 0] < 0).sum() == 2  # one in a hundred of 200 cells is pulled up
    assert logits.grad[0, 1].abs().max() == 0
    low = weak_loss(torch.full((1, 1, 2, 10, 10), -6.0), torch.ones(1, 1), torch.ones(1, 1))
    high = weak_loss(torch.full((1, 1, 2, 10, 10), 6.0), torch.ones(1, 1), torch.ones(1, 1))
    assert high < 0.01 < low
    assert weak_loss(logits.detach(), presence * torch.nan, used) == 0


def test_a_patch_has_to_find_its_phrase():
    target = torch.zeros(1, 3, 1, 8, 8)
    target[0, 0, 0, :4, :4] = 1
    known, used = torch.ones_like(target), torch.ones(1, 3)
    known[0, 2, 0, :4, :4] = 0  # nobody knows whether the third is true there
    right = torch.zeros(1, 3, 1, 2, 2)
    right[0, 0], right[0, 1], right[0, 2] = 8, -8, 50
    assert patch_to_text_loss(right, target, known, used) < 1e-3
    wrong = right.clone()
    wrong[0, 0], wrong[0, 1] = -8, 8
    assert patch_to_text_loss(wrong, target, known, used) > 8
    assert patch_to_text_loss(right, torch.zeros_like(target), known, used) == 0


def test_the_choice_among_phrases_has_a_gradient_everywhere():
    target = torch.zeros(1, 2, 1, 8, 8)
    target[0, 0, 0, :4, :4] = 1
    logits = torch.zeros(1, 2, 1, 2, 2, requires_grad=True)
    patch_to_text_loss(logits, target, torch.ones_like(target), torch.ones(1, 2)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0, 0, 0, 0] < 0 < logits.grad[0, 1, 0, 0, 0]


def test_presence_hangs_on_the_surest_place_inside_and_outside():
    target = torch.zeros(1, 6, 16, 16)
    target[:, 1:5, 4:12, 4:12] = 1
    known = torch.ones_like(target)
    good = torch.where(target > 0, 6.0, -6.0)
    missed = torch.full_like(target, -6.0)
    false = good.clone()
    false[:, 0:3, 12:16, 12:16] = 6.0
    at = [float(presence_loss(logits, target, known)) for logits in (good, missed, false)]
    assert at[0] < 0.1
    assert at[1] > 5
    assert at[2] > 5


def test_presence_asks_for_what_is_smaller_than_a_place():
    target, known = torch.zeros(1, 6, 16, 16), torch.ones(1, 6, 16, 16)
    target[:, 2:4, 7:9, 7:9] = 1
    missed = presence_loss(torch.full_like(target, -6.0), target, known)
    found = presence_loss(12 * torch.nn.functional.max_pool3d(target, 5, 1, 2) - 6, target, known)
    assert float(missed) > 5
    assert float(found) < float(missed)


def test_presence_asks_nothing_where_nobody_knows_and_nothing_of_what_is_not_there():
    logits = torch.full((1, 6, 16, 16), 6.0, requires_grad=True)
    nothing, unknown = torch.zeros(1, 6, 16, 16), torch.zeros(1, 6, 16, 16)
    assert float(presence_loss(logits.detach(), nothing, unknown)) == 0
    loss = presence_loss(-logits, nothing, torch.ones(1, 6, 16, 16)).sum()
    assert float(loss.detach()) < 0.01
    loss.backward()
    assert torch.isfinite(logits.grad).all()
