from __future__ import annotations

import torch

from tips_med.training.matching import text_to_patch_loss


def one_covered():
    """One text of two crops' worth of 2 x 2 patches of 4 x 4 cells; the first patch is covered."""
    target = torch.zeros(1, 1, 1, 8, 8)
    target[..., :4, :4] = 1
    return target, torch.ones_like(target), torch.ones(1, 1)


def scores(first, others):
    logits = torch.full((1, 1, 1, 2, 2), float(others))
    logits[..., 0, 0] = first
    return logits


def test_a_text_has_to_find_its_patch():
    target, known, weight = one_covered()
    assert text_to_patch_loss(scores(8, -8), target, known, weight) < 1e-3
    assert text_to_patch_loss(scores(-8, 8), target, known, weight) > 10
    assert text_to_patch_loss(scores(-8, 8), target, known, 0 * weight) == 0


def test_where_nobody_knows_nothing_is_wrong():
    target, known, weight = one_covered()
    logits = scores(-8, 8).requires_grad_()
    loss = text_to_patch_loss(logits, target, known * (target > 0), weight)  # a word of a phrase that says more
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_gradients_push_the_right_patch_up_and_the_others_down():
    target, known, weight = one_covered()
    logits = scores(0, 0).requires_grad_()
    text_to_patch_loss(logits, target, known, weight).backward()
    assert logits.grad[0, 0, 0, 0, 0] < 0
    assert (logits.grad[0, 0, 0].flatten()[1:] > 0).all()


def test_an_absent_text_has_nothing_to_find():
    target, known, weight = one_covered()
    assert text_to_patch_loss(scores(3, 4), 0 * target, known, weight) == 0
