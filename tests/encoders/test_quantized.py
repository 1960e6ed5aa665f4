"""Fine features as int8: how far they are from what they were, and that scores use their steps."""

from __future__ import annotations

import torch

from tips_med.alignment import AlignmentHead
from tips_med.encoders.base import quantized


def test_no_feature_is_farther_than_half_a_step():
    fine = torch.randn(3, 8, 8, 5) * torch.tensor([0.01, 1, 10, 100, 0])
    values, step = quantized(fine)
    assert values.dtype == torch.int8
    assert step.shape == (3, 5)
    assert ((values * step[:, None, None] - fine).abs() <= 0.501 * step[:, None, None]).all()


def test_scores_of_int8_features_are_those_of_their_values():
    head = AlignmentHead(6, 4, 5)
    text, patches, fine = torch.randn(2, 6), torch.randn(3, 2, 2, 4), torch.randn(3, 8, 8, 5)
    values, step = quantized(fine)
    torch.testing.assert_close(
        head.fine_scores(text, patches, values, step), head.fine_scores(text, patches, values * step[:, None, None])
    )
