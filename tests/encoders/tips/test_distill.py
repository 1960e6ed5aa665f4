from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tips_med.alignment import AlignmentHead
from tips_med.encoders.base import ImageFeatures
from tips_med.encoders.compact import CompactConfig, CompactNet
from tips_med.encoders.distill import PatchDistillation, sample_patches, teacher_patches
from tips_med.encoders.tips.weights import load_tips
from tips_med.errors import ConfigError
from tips_med.geometry import index_from_block
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec, make_slabs

STUDENT_SLABS = SlabSpec(spacing_mm=(4.0, 4.0, 4.0), windows_hu=((-1000.0, 400.0),), neighbours=0, patch=8)
TEACHER_SLABS = SlabSpec(spacing_mm=(5.0, 2.0, 2.0), windows_hu=((-1000.0, 400.0),), neighbours=1, patch=14)


@pytest.fixture
def student() -> CompactNet:
    torch.manual_seed(0)
    return CompactNet(
        CompactConfig(
            slabs=STUDENT_SLABS,
            widths=(8, 8, 8, 16, 16),
            blocks=(0, 0, 0, 0, 0),
            attention_blocks=1,
            heads=2,
            slab_offsets=(-1, 0, 1),
            patch_width=16,
            fine_width=4,
        )
    )


def phantom() -> Scan:
    """A body with two organs of different density, so that patches differ."""
    k, j, i = np.mgrid[0:10, 0:32, 0:32]
    voxels = np.full(k.shape, -900.0, np.float32)
    voxels[(j - 16) ** 2 + (i - 16) ** 2 < 200] = 0
    voxels[(j - 16) ** 2 + (i - 10) ** 2 < 30] = 300
    affine = np.eye(4)
    affine[:3, :3] = np.diag([4.0, 4.0, 4.0])[::-1]
    affine[:3, 3] = (-64.0, -50.0, 10.0)
    return Scan(voxels, affine, "CT", "HU")


def test_distillation_with_an_alignment_loss_lowers_both(student: CompactNet, tips_folder: Path) -> None:
    towers, scan = load_tips(tips_folder, image={"slab_spec": TEACHER_SLABS}), phantom()
    slabs = make_slabs(scan, STUDENT_SLABS)
    shape = (len(slabs.pixels), slabs.pixels.shape[-2] // 8, slabs.pixels.shape[-1] // 8)
    target, inside = teacher_patches(
        towers.image, scan, slabs.lps_from_pixel @ index_from_block((1.0, 8.0, 8.0)), shape
    )
    assert target.shape == (*shape, 32)
    assert float(inside.float().mean()) > 0.9
    phrase = towers.text.embed(["left lung"])[0].pooled
    head = AlignmentHead(32, 16, 4)
    dense = (slabs.pixels[:, 0] > 0.9).float()

    def alignment(patches: Tensor, fine: Tensor) -> Tensor:
        logits = head.fine_scores(phrase, patches[0], fine[0])[0]
        return functional.binary_cross_entropy_with_logits(logits, dense)

    module = PatchDistillation(student, towers.image.width, alignment_weight=0.5)
    optimiser = torch.optim.Adam([*module.parameters(), *head.parameters()], lr=1e-2)
    history = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = module(slabs.pixels[None], torch.zeros(1, 2), target[None], inside[None], alignment)
        loss.total.backward()
        optimiser.step()
        history.append((loss.patches.item(), loss.alignment.item()))
        assert loss.total.item() == pytest.approx(history[-1][0] + 0.5 * history[-1][1], rel=1e-5)
    assert history[-1][0] < 0.5 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]
    assert all(parameter.grad is None for parameter in towers.image.net.parameters())


def test_only_what_the_teacher_saw_counts(student: CompactNet) -> None:
    module = PatchDistillation(student, 5)
    pixels, target = torch.rand(1, 2, 1, 32, 32), torch.randn(1, 2, 4, 4, 5)
    inside = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    nothing = module(pixels, torch.zeros(1, 2), target, inside)
    assert nothing.total.item() == 0
    inside[0, 0, 0, 0] = True
    one = module(pixels, torch.zeros(1, 2), target, inside)
    with torch.no_grad():
        patch = module.to_teacher(student(pixels, torch.zeros(1, 2))[0])[0, 0, 0, 0]
    expected = 1 - functional.cosine_similarity(patch, target[0, 0, 0, 0], dim=0)
    assert one.patches.item() == pytest.approx(float(expected), abs=1e-5)


def test_patches_are_sampled_by_their_affines() -> None:
    """Embeddings that tell their own place are found at the place asked for, on a grid of another size."""
    lps_from_patch = np.array([[0, 0, 7.0, 5], [0, 6.0, 0, -9], [4.0, 0, 0, 30], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), axis=-1)
    place = index @ lps_from_patch[:3, :3].T + lps_from_patch[:3, 3]
    features = ImageFeatures(torch.from_numpy(place.astype(np.float32)), lps_from_patch)
    ours = lps_from_patch @ index_from_block((0.5, 0.75, 0.5))
    shape = (8, 6, 14)
    found, inside = sample_patches(features, ours, shape)
    asked = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ ours[:3, :3].T + ours[:3, 3]
    between = np.zeros(shape, bool)
    between[1:-1, 1:-1, 1:11] = True  # between the outermost centres, where interpolation is exact
    np.testing.assert_allclose(found.numpy()[between], asked[between], atol=1e-4)
    # The student reaches one patch further than the teacher's six columns.
    np.testing.assert_array_equal(inside.numpy(), np.arange(14)[None, None] < 12 + np.zeros(shape))


def test_shapes_that_do_not_meet_are_refused(student: CompactNet) -> None:
    module = PatchDistillation(student, 5)
    with pytest.raises(ValueError, match="targets"):
        module(torch.rand(1, 2, 1, 32, 32), torch.zeros(1, 2), torch.zeros(1, 2, 3, 4, 5), torch.ones(1, 2, 3, 4))
    with pytest.raises(ConfigError):
        PatchDistillation(student, 0)
