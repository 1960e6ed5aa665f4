from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tips_med.encoders.tips.image import NEIGHBOUR_SLABS, WINDOW_SLABS, TipsEncoder
from tips_med.encoders.tips.weights import load_tips
from tips_med.errors import ConfigError
from tips_med.geometry import transform_points
from tips_med.scan import Scan
from tips_med.slabs import SlabSpec, make_slabs

SPEC = SlabSpec(spacing_mm=(4.0, 2.0, 2.0), windows_hu=((-1000.0, 400.0),), neighbours=1, patch=14)


@pytest.fixture(scope="module")
def tower(tips_folder: Path) -> TipsEncoder:
    """Trained, so to speak, on 56 px: windows of 4 x 4 patches every 3."""
    return load_tips(tips_folder, image={"slab_spec": SPEC}).image


def oblique_scan(extent_mm: tuple[float, float, float]) -> Scan:
    """A scan whose three axes differ in length and spacing, turned about the body's long axis."""
    spacing = np.array([3.0, 1.5, 1.0])
    shape = tuple(int(round(e / s)) for e, s in zip(extent_mm, spacing, strict=True))
    turn = np.deg2rad(10.0)
    affine = np.eye(4)
    affine[:3, 0] = np.array([0, 0, 1]) * spacing[0]
    affine[:3, 1] = np.array([-np.sin(turn), np.cos(turn), 0]) * spacing[1]
    affine[:3, 2] = np.array([np.cos(turn), np.sin(turn), 0]) * spacing[2]
    affine[:3, 3] = (-70.0, 30.0, 200.0)
    voxels = np.random.default_rng(0).normal(-300, 300, shape).astype(np.float32)
    return Scan(voxels, affine, "CT", "HU")


@pytest.mark.parametrize("extent_mm", [(24.0, 60.0, 80.0), (12.0, 150.0, 230.0)], ids=["one window", "sliding"])
def test_patches_lie_where_their_pixels_lie(tower: TipsEncoder, extent_mm: tuple[float, float, float]) -> None:
    slabs = make_slabs(oblique_scan(extent_mm), SPEC)
    found = tower.encode(slabs)
    n, y, x = slabs.pixels.shape[0], *slabs.pixels.shape[-2:]
    rows, columns = found.patches.shape[1:3]
    assert len(found.patches) == n
    # Outer corners of the patch grid are those of the pixel grid, whatever the resizing.
    for corner in ([0, 0], [0, 1], [1, 0], [1, 1]):
        pixel = [0, corner[0] * y - 0.5, corner[1] * x - 0.5]
        patch = [0, corner[0] * rows - 0.5, corner[1] * columns - 0.5]
        np.testing.assert_allclose(
            transform_points(found.lps_from_patch, np.array(patch)),
            transform_points(slabs.lps_from_pixel, np.array(pixel)),
            atol=1e-9,
        )


def test_small_slices_are_enlarged_to_the_models_grid(tower: TipsEncoder) -> None:
    slabs = make_slabs(oblique_scan((12.0, 40.0, 40.0)), SPEC)
    assert max(slabs.pixels.shape[-2:]) == 28
    assert max(tower.encode(slabs).patches.shape[1:3]) == 4


def test_patches_are_unit_vectors_and_progress_is_told(tower: TipsEncoder) -> None:
    slabs = make_slabs(oblique_scan((40.0, 60.0, 80.0)), SPEC)
    told: list[tuple[int, int]] = []
    found = tower.encode(slabs, lambda done, total: told.append((done, total)))
    norms = found.patches.float().norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=2e-3)
    n = len(slabs.pixels)
    assert n > tower.batch
    assert told == [(min(done, n), n) for done in range(tower.batch, n + tower.batch, tower.batch)]


def test_a_bright_place_is_found_again_in_the_patch_grid(tower: TipsEncoder) -> None:
    """What one patch sees changes that patch most, in value mode, where patches do not mix in the last block."""
    slabs = make_slabs(oblique_scan((12.0, 150.0, 230.0)), SPEC)
    slabs = replace(slabs, values=slabs.pixels)
    before = tower.encode(slabs)
    row, column = 3, 5
    slabs.values[1, :, row * 14 : (row + 1) * 14, column * 14 : (column + 1) * 14] += 1.0
    change = (tower.encode(slabs).patches.float() - before.patches.float()).norm(dim=-1)
    assert np.unravel_index(int(change.argmax()), change.shape) == (1, row, column)


def test_the_batch_changes_nothing(tower: TipsEncoder) -> None:
    slabs = make_slabs(oblique_scan((24.0, 60.0, 80.0)), SPEC)
    one = TipsEncoder(tower.net, tower.name, slab_spec=SPEC, batch=1)
    torch.testing.assert_close(one.encode(slabs).patches, tower.encode(slabs).patches, rtol=0, atol=2e-3)


def test_the_two_modes_differ(tower: TipsEncoder) -> None:
    pixels = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        value, final = (tower.patch_tokens(pixels, mode) for mode in ("value", "final"))
    assert float((value - final).abs().max()) > 1e-3


@pytest.mark.parametrize("spec", [NEIGHBOUR_SLABS, WINDOW_SLABS])
def test_the_slabs_offered_fit_the_published_patch(spec: SlabSpec) -> None:
    assert (spec.channels, spec.patch) == (3, 14)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"slab_spec": SlabSpec()}, "6 channels"),
        ({"slab_spec": SlabSpec(windows_hu=((0.0, 1.0),))}, "patches of 8 px"),
        ({"window_px": 50}, "windows of 50 px"),
        ({"stride_px": 70}, "every 70 px"),
        ({"stride_px": 0}, "every 0 px"),
        ({"batch": 0}, "batch of 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments: dict[str, object], found: str, tips_folder: Path) -> None:
    with pytest.raises(ConfigError, match=found):
        load_tips(tips_folder, image=arguments)


def test_an_unknown_mode_is_refused(tips_folder: Path) -> None:
    # A TypeError where types are checked while the tests run.
    with pytest.raises((ConfigError, TypeError), match="middle"):
        load_tips(tips_folder, mode="middle")  # type: ignore[arg-type]


def test_half_the_precision_gives_nearly_the_same_directions(tower: TipsEncoder, tips_folder: Path) -> None:
    slabs = make_slabs(oblique_scan((24.0, 60.0, 80.0)), SPEC)
    half = load_tips(tips_folder, dtype=torch.bfloat16, image={"slab_spec": SPEC})
    cosine = functional.cosine_similarity(
        half.image.encode(slabs).patches.float(), tower.encode(slabs).patches.float(), dim=-1
    )
    assert float(cosine.min()) > 0.99
    assert half.temperature == pytest.approx(0.00478)
    assert bool(torch.isfinite(half.text.embed(["left lung"])[0].pooled).all())


def test_slabs_of_another_tower_are_refused(tower: TipsEncoder) -> None:
    with pytest.raises(ConfigError, match="6 channels"):
        tower.encode(make_slabs(oblique_scan((12.0, 40.0, 40.0)), SlabSpec()))


def test_windows_default_to_the_models_size_and_three_quarters_of_it(tower: TipsEncoder) -> None:
    assert (tower.side, tower.stride) == (4, 3)
    published = TipsEncoder(tower.net, tower.name, slab_spec=SPEC, window_px=448)
    assert (published.side * 14, published.stride * 14) == (448, 336)
