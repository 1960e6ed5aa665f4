from __future__ import annotations

import pytest
import torch

from tips_med.alignment import AlignmentHead


@pytest.fixture
def head() -> AlignmentHead:
    torch.manual_seed(0)
    return AlignmentHead(6, 8, 4)


def test_the_patch_token_matrix_is_a_dot_product_and_a_bias(head):
    text, patches = torch.rand(3, 6), torch.rand(5, 2, 4, 8)
    scores = head.patch_scores(text, patches)
    assert scores.shape == (3, 5, 2, 4)
    expected = head.to_patch(text)[1] @ patches[2, 1, 3] / 8**0.5 + head.bias(text)[1]
    torch.testing.assert_close(scores[1, 2, 1, 3], expected[0])


def test_fine_scores_add_edges_to_interpolated_patches(head):
    text, patches, fine = torch.rand(3, 6), torch.rand(5, 2, 4, 8), torch.rand(5, 16, 32, 4)
    scores = head.fine_scores(text, patches, fine)
    assert scores.shape == (3, 5, 16, 32)
    without = head.fine_scores(text, patches, torch.zeros_like(fine))
    edges = torch.einsum("qf,syxf->qsyx", head.to_fine(text), fine) / 4**0.5
    torch.testing.assert_close(scores - without, edges, atol=1e-5, rtol=1e-4)
    # The middle of a patch's own cells carries that patch's score.
    flat = head.fine_scores(text, torch.ones_like(patches), torch.zeros_like(fine))
    torch.testing.assert_close(flat, head.patch_scores(text, torch.ones_like(patches))[..., :1, :1].expand_as(flat))


def test_a_batch_of_scenes_is_scored_scene_by_scene(head):
    text, patches, fine = torch.rand(2, 3, 6), torch.rand(2, 5, 2, 4, 8), torch.rand(2, 5, 16, 32, 4)
    together = head.fine_scores(text, patches, fine)
    torch.testing.assert_close(together[1], head.fine_scores(text[1], patches[1], fine[1]))


def test_before_training_most_of_a_body_is_not_what_is_asked_for(head):
    assert head.patch_scores(torch.zeros(1, 6), torch.zeros(1, 1, 1, 8)).sigmoid() < 0.1
