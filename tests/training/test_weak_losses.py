from __future__ import annotations

import math

import pytest
import torch

from tips_med.training.signals import PhraseSignals, collate_signals
from tips_med.training.weak_losses import (
    LEAST_SHARE,
    ball_mm3,
    count_loss,
    evidence_loss,
    pooled_cells,
    region_loss,
    sides_loss,
    signal_terms,
    size_loss,
    slice_loss,
)

SHAPE = (9, 20, 24)
SPACING = torch.tensor([2.5, 2.0, 2.0])
EVERYWHERE = torch.ones(SHAPE, dtype=torch.bool)


def quiet(value: float = -8.0) -> torch.Tensor:
    return torch.full(SHAPE, value, requires_grad=True)


def with_ball(diameter_mm: float, at=(4, 10, 12), height: float = 8.0) -> torch.Tensor:
    """A map that is high in a ball and low elsewhere."""
    index = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij"), -1)
    away = ((index - torch.tensor(at)) * SPACING).norm(dim=-1)
    return torch.where(away <= diameter_mm / 2, height, -8.0)


def gradient(loss, logits: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss, logits)
    return found


def test_evidence_lifts_the_highest_cells_of_the_region_and_no_other():
    logits = quiet()
    where = torch.zeros(SHAPE, dtype=torch.bool)
    where[3:5] = True
    lifted = gradient(evidence_loss(logits, where, 5), logits) < 0
    assert int(lifted.sum()) == 5
    assert where[lifted].all()
    assert evidence_loss(with_ball(12), EVERYWHERE, 5) < 1e-3
    assert evidence_loss(quiet(), ~EVERYWHERE, 5) == 0


def test_the_profile_has_to_peak_in_the_cited_slices():
    cited = torch.zeros(SHAPE, dtype=torch.bool)
    cited[3:6] = True
    assert slice_loss(with_ball(8, at=(4, 10, 12)), cited, 4) < 1e-3
    elsewhere = with_ball(8, at=(8, 10, 12)).requires_grad_()
    loss = slice_loss(elsewhere, cited, 4)
    assert loss > 10
    pull = gradient(loss, elsewhere)
    assert (pull[cited] < 0).sum() == (pull[~cited] > 0).sum() == 4
    assert (elsewhere[pull > 0] > 0).all()  # what is wrong is pushed down
    # Where in the slices, how high the whole map is, and how large what is faint: none of its business.
    base = slice_loss(with_ball(8, at=(4, 5, 5)), cited, 4)
    torch.testing.assert_close(base, slice_loss(with_ball(8, at=(4, 12, 15)) + 3, cited, 4))
    faint = torch.where(cited, with_ball(8), torch.full(SHAPE, 3.0))
    assert slice_loss(faint, cited, 4) < 0.01


def test_no_citation_says_nothing():
    assert slice_loss(quiet(), ~EVERYWHERE, 4) == 0
    assert slice_loss(quiet(), EVERYWHERE, 4) == 0


@pytest.mark.parametrize("diameter_mm", [8.0, 12.0, 16.0])
def test_a_map_of_the_stated_size_costs_nothing(diameter_mm):
    assert size_loss(with_ball(diameter_mm), diameter_mm, SPACING, EVERYWHERE) < 0.02


def test_too_large_and_too_small_a_map_are_mended():
    large = with_ball(16).requires_grad_()
    loss = size_loss(large, 6.0, SPACING, EVERYWHERE)
    assert loss > 0.5
    assert gradient(loss, large)[4, 10, 12 + 3] > 0  # 6 mm beside the peak: not of a finding of 6 mm
    small = with_ball(4).requires_grad_()
    loss = size_loss(small, 16.0, SPACING, EVERYWHERE)
    assert loss > 1.0
    pull = gradient(loss, small)
    assert pull[4, 10, 12 + 2] < 0  # grows beside its peak
    assert pull[0, 0, 0] == 0  # and not far away
    # Of several, the peak may be a smaller one: then it need not grow.
    assert size_loss(small, 16.0, SPACING, EVERYWHERE, largest=False) < 0.02


def test_what_is_far_from_the_peak_may_be_another_one():
    two = torch.maximum(with_ball(8, at=(4, 4, 4)), with_ball(8, at=(4, 15, 19)) - 1)
    assert size_loss(two, 8.0, SPACING, EVERYWHERE) < 0.02


def test_the_bounds_of_the_volume_are_those_of_the_ball():
    assert ball_mm3(10.0) == pytest.approx(4 / 3 * math.pi * 5**3)
    assert pooled_cells(20.0, SPACING, 1) == round(LEAST_SHARE * ball_mm3(20.0) / 10.0)
    assert pooled_cells(1.0, SPACING, 99) == 1
    assert pooled_cells(math.nan, SPACING, 99) == 99


def test_a_count_asks_for_separate_peaks():
    one, other = with_ball(8, at=(4, 4, 4)), with_ball(8, at=(4, 15, 19)) - 1
    assert count_loss(torch.maximum(one, other), 2, SPACING, EVERYWHERE) < 1e-2
    alone = one.clone().requires_grad_()
    loss = count_loss(alone, 2, SPACING, EVERYWHERE)
    assert loss > 3.9  # half of softplus(8)
    pulled = gradient(loss, alone).nonzero()
    assert len(pulled) == 2
    assert ((pulled[0] - pulled[1]).abs() * SPACING > 9).any()
    assert count_loss(one, 1, SPACING, EVERYWHERE) < 1e-3
    assert count_loss(one, 3, SPACING, ~EVERYWHERE) == 0


def test_more_than_were_counted_are_no_fault():
    three = torch.maximum(with_ball(6, at=(4, 4, 4)), with_ball(6, at=(4, 15, 19)))
    three = torch.maximum(three, with_ball(6, at=(4, 4, 19)))
    assert count_loss(three, 2, SPACING, EVERYWHERE) < 1e-2


def test_both_sides_need_evidence_of_their_own():
    x_mm = 2.0 * torch.arange(24.0) - 23
    left, right = with_ball(8, at=(4, 10, 19)), with_ball(8, at=(4, 10, 4))
    assert sides_loss(torch.maximum(left, right), EVERYWHERE, x_mm, 4) < 1e-3
    only = left.clone().requires_grad_()
    loss = sides_loss(only, EVERYWHERE, x_mm, 4)
    assert loss > 3.9
    pull = gradient(loss, only)
    assert (pull[..., 12:].abs() < 1e-3).all()
    assert (pull[..., :12] < 0).any()
    torch.testing.assert_close(loss, sides_loss(right.flip(2).flip(2), EVERYWHERE, x_mm, 4))


def test_outside_of_its_organ_a_finding_is_not():
    outside = torch.zeros(SHAPE, dtype=torch.bool)
    outside[..., :12] = True
    wrong = with_ball(8, at=(4, 10, 4)).requires_grad_()
    pull = gradient(region_loss(wrong, outside), wrong)
    assert (pull[outside] > 0).all()
    assert (pull[~outside] == 0).all()
    assert region_loss(with_ball(8, at=(4, 10, 19)), outside) < 1e-3
    assert region_loss(wrong, ~EVERYWHERE) == 0


WEIGHTS = {"slice": 1.0, "size": 1.0, "count": 1.0, "region": 1.0}


def batch_of(*signals: PhraseSignals):
    made = collate_signals([signals], SHAPE, [-23.0], (2.5, 2.0, 2.0))
    assert made is not None
    return made


def test_evidence_is_looked_for_where_all_signals_allow_it():
    cited = torch.zeros(SHAPE, dtype=torch.bool)
    cited[2:5] = True
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[..., 12:] = True
    said = PhraseSignals(cited=cited.numpy(), inside=inside.numpy(), outside=(~inside).numpy(), size_mm=8.0)
    logits = quiet().detach()[None, None].requires_grad_()
    presence, used = torch.ones(1, 1), torch.ones(1, 1)

    def lifted(**weights: float) -> torch.Tensor:
        terms = signal_terms(logits, batch_of(said), presence, used, 0.01, WEIGHTS | weights)
        return gradient(terms["weak"], logits)[0, 0] < 0

    assert (cited & inside)[lifted()].all()
    assert cited[lifted(region=0.0)].all()
    assert inside[lifted(slice=0.0)].all()
    assert int(lifted().sum()) == pooled_cells(8.0, SPACING, 0)
    # A size says how many cells only where the place is known.
    assert int(lifted(size=0.0).sum()) == int(lifted(slice=0.0).sum()) == int(0.01 * logits.numel())


def test_signals_that_are_switched_off_cost_nothing_and_those_of_other_pairs_are_not_looked_at():
    cited = torch.zeros(SHAPE, dtype=torch.bool)
    cited[0] = True
    said = PhraseSignals(cited=cited.numpy(), size_mm=4.0, count=3, both=True, outside=EVERYWHERE.numpy())
    logits = with_ball(8)[None, None]
    on, off = (
        signal_terms(logits, batch_of(said), torch.ones(1, 1), torch.ones(1, 1), 0.01, WEIGHTS | switched)
        for switched in ({}, dict.fromkeys(WEIGHTS, 0.0))
    )
    assert all(on[name] > 0.01 for name in WEIGHTS), on
    assert all(off[name] == 0 for name in WEIGHTS)
    dense = signal_terms(logits, batch_of(said), torch.full((1, 1), math.nan), torch.ones(1, 1), 0.01, WEIGHTS)
    assert all(value == 0 for value in dense.values())


def test_a_citation_outside_of_the_organ_does_not_take_the_evidence_away():
    cited, inside = torch.zeros(SHAPE, dtype=torch.bool), torch.zeros(SHAPE, dtype=torch.bool)
    cited[:3], inside[6:] = True, True
    said = PhraseSignals(cited=cited.numpy(), inside=inside.numpy())
    terms = signal_terms(quiet()[None, None], batch_of(said), torch.ones(1, 1), torch.ones(1, 1), 0.01, WEIGHTS)
    assert terms["weak"] > 7


def test_a_batch_without_signals_has_none():
    assert collate_signals([[PhraseSignals()], [PhraseSignals()]], SHAPE, [0.0, 0.0], (2.5, 2.0, 2.0)) is None
