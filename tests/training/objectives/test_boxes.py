from __future__ import annotations

import pytest
import torch

from tips_med.training.objectives.boxes import (
    BoxHead,
    box_loss,
    cells_inside,
    corners,
    drawn,
    filled,
    generalized_iou,
)


def test_generalized_iou_by_hand():
    one = torch.tensor([0.0, 0, 0.5, 0.5])
    assert float(generalized_iou(one, one)) == pytest.approx(1.0)
    half = torch.tensor([0.25, 0, 0.75, 0.5])  # a third in common, and the hull has nothing beside the two
    assert float(generalized_iou(one, half)) == pytest.approx(1 / 3)
    far = torch.tensor([0.5, 0.5, 1.0, 1.0])  # nothing in common, half of the hull is neither
    assert float(generalized_iou(one, far)) == pytest.approx(-0.5)


def test_boxes_without_truth_cost_nothing_but_keep_the_graph():
    boxes = torch.rand(2, 4, requires_grad=True)
    terms = box_loss(boxes, torch.full((2, 4), torch.nan))
    sum(terms).backward()
    assert [float(t.detach()) for t in terms] == [0.0, 0.0]
    assert not boxes.grad.any()


def test_a_drawn_box_cut_at_half_of_its_height_is_the_box_again():
    box = torch.tensor([0.25, 0.125, 0.75, 0.5])
    heat = drawn(box, (16, 24))
    cut = heat >= 0.5 * heat.max()
    assert cut.nonzero().amin(0).tolist() == [2, 6]
    assert cut.nonzero().amax(0).tolist() == [7, 17]
    assert int(cut.sum()) == 6 * 12


def test_filled_boxes_hold_the_pixels_whose_centre_is_inside():
    mask = filled(torch.tensor([[0.25, 0.125, 0.75, 0.5], [torch.nan] * 4]), (16, 24))
    assert mask[0].sum() == 6 * 12
    assert not mask[1].any()


def test_cells_are_covered_in_part():
    cover = cells_inside(torch.tensor([0.0, 0.0, 0.375, 0.5]), (2, 4))
    assert cover.tolist() == [[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_the_box_head_starts_in_the_middle():
    boxes = BoxHead(8)(torch.zeros(3, 8))
    assert boxes.shape == (3, 4)
    assert ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5).abs().max() < 0.15
    assert corners(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
