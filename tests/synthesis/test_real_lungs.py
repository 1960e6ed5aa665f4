"""A torso around lungs that are given: they lie on their sides, with their vessels, and a body around them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from tests.synthesis.invented_lungs import write_lung_shape
from tips_med.errors import ReadError
from tips_med.geometry import LEFT, RIGHT
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.deform import Deformation
from tips_med.synthesis.organs import LABELS
from tips_med.synthesis.phantom import LungShape, make_lung_phantom, read_lung_shape
from tips_med.synthesis.scene import SceneSpec, make_scene

SPACING = (5.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def shape(tmp_path_factory) -> LungShape:
    return read_lung_shape(write_lung_shape(tmp_path_factory.mktemp("shapes") / "1"))


@pytest.fixture(scope="module")
def body(shape) -> Anatomy:
    return make_lung_phantom(shape, 1, SPACING, mirrored=False)


def middle(mask: np.ndarray) -> np.ndarray:
    """z (up), y (to the back), x (to the left)."""
    return np.argwhere(mask).mean(axis=0)


def test_a_shape_is_read_with_its_sides(shape):
    right, left = shape.sides == RIGHT, shape.sides == LEFT
    assert middle(right)[2] < middle(left)[2], "x grows to the patient's left"
    assert right.sum() > 1.1 * left.sum(), "the right lung was drawn larger"
    assert 3000 < (shape.filled.sum(dtype=np.int64) / 255 * 8 / 1000) < 5500
    assert shape.vessels.all_mm[:, 0].max() < shape.sides.shape[0] * 2
    # Fissures lie on a grid of their own, and still within the lungs.
    cells = np.rint(shape.fissures_mm / 2).astype(int)
    assert (ndimage.binary_dilation(shape.sides > 0, iterations=2)[tuple(cells.T)]).mean() > 0.98


def test_lungs_lie_on_their_sides(body):
    right, left = body.lungs == RIGHT, body.lungs == LEFT
    assert middle(right)[2] < body.middle_yx[1] < middle(left)[2]
    assert right.sum() > 1.1 * left.sum()
    assert middle(body.organs == LABELS["liver"])[2] < body.middle_yx[1]
    assert -930 < np.median(body.volume_hu[body.lungs > 0]) < -740


def test_of_a_mirrored_body_each_side_is_called_what_it_is(shape, body):
    plain, body = body, make_lung_phantom(shape, 1, SPACING, mirrored=True)
    np.testing.assert_array_equal(body.volume_hu, plain.volume_hu[:, :, ::-1])
    np.testing.assert_array_equal(body.lungs == LEFT, plain.lungs[:, :, ::-1] == RIGHT)
    right, left = body.lungs == RIGHT, body.lungs == LEFT
    assert middle(right)[2] < body.middle_yx[1] < middle(left)[2]
    assert left.sum() > 1.1 * right.sum(), "the larger lung is the left one now"
    assert middle(body.organs == LABELS["liver"])[2] > body.middle_yx[1]
    assert middle(body.organs == LABELS["rib_right"])[2] < middle(body.organs == LABELS["rib_left"])[2]


def test_the_same_seed_builds_the_same_body_and_another_another(shape, body):
    again, other = (make_lung_phantom(shape, seed, SPACING, mirrored=False) for seed in (1, 5))
    np.testing.assert_array_equal(body.volume_hu, again.volume_hu)
    np.testing.assert_array_equal(body.organs, again.organs)
    assert body.name == "lungs-1-1" != other.name
    assert other.volume_hu.shape != body.volume_hu.shape or not np.array_equal(other.volume_hu, body.volume_hu)


def test_vessels_are_brighter_than_the_lung_and_bronchi_darker(body):
    inner = ndimage.binary_erosion(body.lungs > 0, iterations=3)
    values = body.volume_hu[inner]
    median = np.median(values)
    assert 0.01 < (values > median + 250).mean() < 0.3
    assert (values < median - 60).any()


def test_organs_stay_out_of_the_lungs(body):
    assert not (body.organs[body.lungs > 0] > 0).any()
    for organ in ("heart", "aorta", "spine", "rib_left", "sternum", "liver"):
        assert (body.organs == LABELS[organ]).any(), organ
    heart, spine = (middle(body.organs == LABELS[organ]) for organ in ("heart", "spine"))
    assert heart[1] < spine[1]
    for edge in (body.volume_hu[:, 0], body.volume_hu[:, -1], body.volume_hu[:, :, 0], body.volume_hu[:, :, -1]):
        assert (edge < -900).all(), "around the body is air"


def test_findings_are_painted_into_it(body):
    spec = SceneSpec(shape=(8, 48, 64), empty=0.0, deformation=Deformation(mirrored=0.0))
    for seed in range(20):
        scene = make_scene(body, spec, np.random.default_rng(seed), "nodule")
        if any(one.finding == "nodule" for one in scene.findings):
            return
    pytest.fail("no nodule in twenty scenes")


def test_what_is_no_shape_is_refused(tmp_path):
    with pytest.raises(ReadError):
        read_lung_shape(tmp_path)
    folder = write_lung_shape(tmp_path / "1")
    outline = nib.load(folder / "pleuralBoundary.nii.gz")  # pyright: ignore[reportPrivateImportUsage]
    empty = np.zeros(outline.shape, np.int16)  # pyright: ignore[reportAttributeAccessIssue]
    nib.save(nib.Nifti1Image(empty, outline.affine), folder / "pleuralBoundary.nii.gz")  # pyright: ignore
    with pytest.raises(ReadError, match="no lung"):
        read_lung_shape(folder)
    full = empty.copy()
    full[:20, :20, :20] = 1
    nib.save(nib.Nifti1Image(full, outline.affine), folder / "pleuralBoundary.nii.gz")  # pyright: ignore
    with pytest.raises(ReadError, match="hang together"):
        read_lung_shape(folder)
