from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.processing import resample_from_to

from tests.followup.patients import GRIDS, LEFT, MASS, RIGHT, mass, motion, moved, patient, study, with_vessels
from tests.phantom import rule_model
from tips_med.errors import ModalityError
from tips_med.followup import Registration, register
from tips_med.followup.quality import Quality
from tips_med.geometry import ras_affine_ijk, transform_points

PLACES = np.array([LEFT, RIGHT, (60.0, -30.0, 20.0), (-50.0, 20.0, -60.0), (70.0, 0.0, 70.0)])


def of(transform: sitk.Transform) -> Registration:
    return Registration(transform, Quality(1.0, 1.0, 1.0, np.full((2, 1, 1, 1), np.nan), np.eye(4)))


@pytest.mark.parametrize("on", list(GRIDS))
def test_a_known_motion_is_found_on_any_grid(on):
    prior = with_vessels(patient([]))
    current = moved(prior, motion(), on)
    found = register(study(prior), study(current), rule_model())
    true = np.array([motion().TransformPoint(place.tolist()) for place in PLACES])
    before = np.linalg.norm(PLACES - true, axis=1).min()
    after = np.linalg.norm(found.points_in_prior(PLACES) - true, axis=1)
    assert before > 5
    assert np.median(after) < 1.5
    assert after.max() < 3
    assert found.quality.good
    assert found.quality.near(np.array(LEFT)) > 0.75


@pytest.mark.parametrize(("then_mm", "now_mm"), [(12.0, 19.0), (19.0, 12.0), (0.0, 14.0), (14.0, 0.0)])
def test_a_mass_that_changes_does_not_stretch_the_place_around_it(then_mm, now_mm):
    """Or the mask of the prior scan, moved, would be as large as the mass it grew to."""
    prior, later = (with_vessels(patient([mass(LEFT, radius)] if radius else [])) for radius in (then_mm, now_mm))
    current = moved(later, motion(), "oblique")
    found = register(study(prior), study(current), rule_model())
    labels = (patient([mass(LEFT, 12.0)]).voxels == MASS).astype(np.uint8)
    affine, shape = GRIDS["oblique"]
    ours, true = (
        of(transform).warp(labels, prior.lps_from_kji, affine, shape, linear=False) > 0
        for transform in (found.prior_from_current, motion())
    )
    assert ours.sum() == pytest.approx(true.sum(), rel=0.2)
    assert 2 * (ours & true).sum() > 0.85 * (ours.sum() + true.sum())


def test_the_same_scans_give_the_same_transform():
    prior = with_vessels(patient([]))
    pair = study(prior), study(moved(prior, motion(), "anisotropic"))
    told: list[tuple[int, int]] = []
    first = register(*pair, rule_model()).points_in_prior(PLACES)
    second = register(*pair, rule_model(), lambda *now: told.append(now)).points_in_prior(PLACES)
    np.testing.assert_array_equal(first, second)
    assert told == sorted(told) and told[0][0] == 1
    assert told[-1][0] == told[-1][1]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [3, 125])
def test_progress_can_end_a_registration(after, capfd):
    """In the affine, and in a B-spline."""
    prior = with_vessels(patient([]))
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        told = done
        if done >= after:
            raise Stopped

    with pytest.raises(Stopped):
        register(study(prior), study(moved(prior, motion(), "axial")), rule_model(), progress)
    assert told < after + 60, "nothing more is told"
    assert capfd.readouterr().err == "", "ITK prints nothing"


@pytest.mark.parametrize("on", ["axial", "oblique", "mirrored"])
def test_displacements_lead_to_the_prior_scan(on):
    affine, _ = GRIDS[on]
    field = of(motion()).displacement(affine, (7, 6, 5))
    index = np.argwhere(np.ones((7, 6, 5), bool))
    points = transform_points(affine, index)
    true = np.array([motion().TransformPoint(point.tolist()) for point in points])
    np.testing.assert_allclose(points + field[:, *index.T].T, true, atol=1e-3)


def test_a_place_that_was_followed_is_found_again():
    registration = of(motion())
    there = registration.points_in_prior(PLACES)
    np.testing.assert_allclose(registration.points_in_current(there), PLACES, atol=0.1)


def test_lungs_without_the_same_vessels_are_poorly_registered():
    """Outlines alone can be laid on each other for any two patients."""
    one, other = (with_vessels(patient([]), seed) for seed in (4, 5))
    found = register(study(one), study(other), rule_model())
    assert found.quality.lungs_dice > 0.9
    assert not found.quality.good


def test_scans_that_share_nothing_are_poorly_registered():
    whole = with_vessels(patient([]))
    water = replace(whole, voxels=np.zeros(whole.shape, np.float32))
    found = register(study(whole), study(water), rule_model())
    assert not found.quality.good
    assert np.isnan(found.quality.correlation)


def test_scans_of_two_modalities_are_refused():
    scan = study(patient([]))
    other = replace(scan, scan=replace(scan.scan, modality="MR", unit=""))
    with pytest.raises(ModalityError, match="prior scan is MR") as refused:
        register(other, scan, rule_model())
    assert refused.value.code == "different-modality"
    with pytest.raises(ModalityError) as refused:
        register(other, other, rule_model())
    assert refused.value.code == "not-registered"


@pytest.mark.parametrize("on", list(GRIDS))
def test_labels_are_pulled_to_where_nibabel_puts_them(on):
    """A rigid transform is only another affine of the file, for a library that knows nothing of registration."""
    prior = patient([mass(LEFT, 14.0)], on)
    labels = (prior.voxels == MASS).astype(np.uint8)
    affine, shape = GRIDS["anisotropic"]
    ours = of(motion()).warp(labels, prior.lps_from_kji, affine, shape, linear=False)
    current_from_prior = np.eye(4)
    inverse = motion().GetInverse()
    current_from_prior[:3, 3] = inverse.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        unit = np.eye(3)[axis]
        current_from_prior[:3, axis] = np.array(inverse.TransformPoint(unit.tolist())) - current_from_prior[:3, 3]
    image = nib.Nifti1Image(labels.T, ras_affine_ijk(current_from_prior @ prior.lps_from_kji))
    theirs = resample_from_to(image, (shape[::-1], ras_affine_ijk(affine)), order=0)
    other = np.asarray(theirs.dataobj).T
    assert ours.sum() > 300
    overlap = 2 * int(((ours > 0) & (other > 0)).sum()) / int((ours > 0).sum() + (other > 0).sum())
    assert overlap > 0.98


def test_what_the_prior_does_not_reach_is_not_measured():
    prior = patient([])
    affine, shape = GRIDS["axial"]
    far = affine.copy()
    far[:3, 3] += 1000
    picture = of(motion()).warp(prior.voxels, prior.lps_from_kji, far, shape)
    assert np.isnan(picture).all()
