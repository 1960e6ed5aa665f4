from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.phantom import body
from tests.tiny import CONFIG, tiny_nets
from tips_med.encoders import compact
from tips_med.encoders.compact import DEPTH, CompactImageTower
from tips_med.geometry import transform_points
from tips_med.slabs import BODY_MARGIN, SlabSpec, make_slabs

COARSE = dataclasses.replace(CONFIG, slabs=SlabSpec(spacing_mm=(20.0, 6.0, 6.0)))


@pytest.fixture
def tower(monkeypatch) -> CompactImageTower:
    monkeypatch.setattr(compact, "has_fast_bfloat16", lambda device: False)
    net, _, _ = tiny_nets()
    net.config = COARSE
    return CompactImageTower(net)


def test_patches_and_fine_features_lie_where_their_affines_say(tower):
    slabs = make_slabs(body(), COARSE.slabs)
    features = tower.encode(slabs)
    assert features.fine.shape[:3] == slabs.pixels.shape[:1] + slabs.pixels.shape[2:]
    assert [8 * n for n in features.patches.shape[1:3]] == list(features.fine.shape[1:3])
    centre = transform_points(features.lps_from_patch, np.array([2, 1, 1]))[0]
    covered = transform_points(features.lps_from_fine, np.argwhere(np.ones((1, 8, 8))) + (2, 8, 8))
    np.testing.assert_allclose(centre, covered.mean(axis=0))


def test_the_size_of_a_chunk_changes_nothing(tower):
    slabs = make_slabs(body(), COARSE.slabs)
    whole = tower.encode(slabs)
    tower.chunk = 5
    parts = tower.encode(slabs)
    torch.testing.assert_close(parts.patches, whole.patches, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(parts.fine, whole.fine, atol=2e-3, rtol=2e-3)


def test_a_place_is_known_in_mm_from_the_middle_and_not_as_an_index(tower):
    """More air on one side changes indices and nothing else."""
    net = tower.net
    pixels, offset = torch.rand(1, 3, 6, 64, 64), torch.tensor([[-190.0, -190.0]])
    wider = torch.nn.functional.pad(pixels, (32, 0, 0, 0))
    with torch.inference_mode():
        deep = net.descend(pixels.flatten(0, 1))[-1][None]
        here = net.attend(deep, offset)
        there = net.attend(torch.nn.functional.pad(deep, (2, 0)), offset - torch.tensor([[0.0, 32 * 6.0]]))
        elsewhere = net.attend(deep, offset + 60.0)
    assert wider.shape[-1] == 96
    position = lambda x: x[..., -1, -1]  # noqa: E731
    same = (position(there) - position(here)).abs().mean()
    moved = (position(elsewhere) - position(here)).abs().mean()
    assert same < moved


def test_the_network_is_told_where_the_first_pixel_lies_from_the_middle_of_the_body(tower):
    slabs = make_slabs(body(), COARSE.slabs, margin=BODY_MARGIN)
    (x, y, _), (middle_y, middle_x) = slabs.lps_from_pixel[:3, 3], slabs.body.middle_mm
    offset = torch.tensor([[y - middle_y, x - middle_x]], dtype=torch.float32)
    rows, columns = slabs.pixels.shape[-2:]
    pixels = torch.nn.functional.pad(slabs.pixels, (0, -columns % DEPTH, 0, -rows % DEPTH))[None]
    with torch.inference_mode():
        patches, _ = tower.net(pixels, offset)
        elsewhere, _ = tower.net(pixels, -offset)
    told = tower.encode(slabs).patches.float()
    own = (0, slice(None), slice(rows // 8), slice(columns // 8))
    torch.testing.assert_close(told, patches[own], atol=2e-3, rtol=2e-3)
    assert (elsewhere[own] - told).abs().max() > 0.02


def test_slabs_attend_to_a_sparse_window_and_no_farther(tower):
    net = tower.net
    deep = torch.rand(1, 14, 16, 2, 2)
    changed = deep.clone()
    changed[0, 0] = torch.rand(16, 2, 2)
    with torch.inference_mode():
        moved = (net.attend(changed, torch.zeros(1, 2)) - net.attend(deep, torch.zeros(1, 2))).abs().amax((0, 2, 3, 4))
    reached = {slab for slab in range(14) if moved[slab] > 1e-6}
    assert reached == {0, 1, 2, 4}


def test_progress_is_told_to_the_end(tower):
    told = []
    tower.encode(make_slabs(body(), COARSE.slabs), lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)


def in_training(checkpointing):
    """Loss and gradients of a step, and how many numbers were kept for the backward pass."""
    net, _, _ = tiny_nets()
    net.train().checkpointing = checkpointing
    pixels = torch.rand(1, 4, 6, 32, 32, generator=torch.Generator().manual_seed(3))
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        patches, fine = net(pixels, torch.zeros(1, 2))
        loss = patches.square().mean() + fine.square().mean()
    loss.backward()
    return loss.item(), [parameter.grad for parameter in net.parameters()], kept


def test_gradient_checkpointing_keeps_less_and_changes_nothing():
    (loss, gradients, kept), (again, same, less) = in_training(False), in_training(True)
    assert again == pytest.approx(loss, rel=1e-6)
    for ours, theirs in zip(same, gradients):
        torch.testing.assert_close(ours, theirs)
    assert less < 0.5 * kept


def test_checkpointing_is_of_training_only(tower):
    slabs = make_slabs(body(), COARSE.slabs)
    plain = tower.encode(slabs)
    tower.net.checkpointing = True
    torch.testing.assert_close(tower.encode(slabs).patches, plain.patches, rtol=0, atol=0)


@pytest.mark.parametrize("slabs", [5, 16, 37])
def test_a_long_body_is_encoded_block_by_block_and_nothing_changes(slabs):
    net, _, _ = tiny_nets()
    whole = make_slabs(body(), CONFIG.slabs)
    stack = dataclasses.replace(
        whole,
        values=torch.rand(slabs, *whole.pixels.shape[1:]),
        seen=torch.ones(slabs, *whole.seen.shape[1:], dtype=torch.bool),
    )
    at_once = CompactImageTower(net, chunk=4, block=400).encode(stack)
    in_blocks = CompactImageTower(net, chunk=4, block=8).encode(stack)
    torch.testing.assert_close(in_blocks.patches, at_once.patches, atol=2e-3, rtol=1e-2)
    torch.testing.assert_close(in_blocks.fine, at_once.fine, atol=2e-3, rtol=1e-2)
