"""TorchIO's subjects go in and come out where they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("torchio", reason="needs tips-med[torchio]")

import torchio

from tests.transforms.patients import coarse_model, patient
from tips_med.errors import ReadError
from tips_med.grounding.ground import encode, ground
from tips_med.transforms.torchio_subject import GroundSubject, image_of_scan, label_of_answer, scan_of_image

MODEL = coarse_model()
QUERY = "mass in the left lung"


def test_a_scan_comes_back_as_it_was(any_scan):
    image = image_of_scan(any_scan)
    assert image.spatial_shape == any_scan.shape[::-1]
    again = scan_of_image(image, "CT")
    np.testing.assert_array_equal(again.voxels, any_scan.voxels)
    np.testing.assert_allclose(again.lps_from_kji, any_scan.lps_from_kji, atol=1e-9)
    assert (again.modality, again.unit) == ("CT", "HU")


def test_the_answer_is_that_of_ground_and_lies_where_the_image_lies(scan):
    subject = torchio.Subject(image=image_of_scan(scan))
    made = torchio.Compose([GroundSubject([QUERY, "mass"], model=MODEL, modality="CT")])(subject)
    expected = ground(encode(scan, MODEL), QUERY, MODEL)
    assert made["answers"][0].sentence == expected.sentence
    np.testing.assert_array_equal(made[QUERY].data[0].numpy().transpose(2, 1, 0), expected.mask)
    np.testing.assert_allclose(made[QUERY].affine, made["image"].affine, atol=1e-9)
    assert made["mass"].data.any()
    assert set(subject) == {"image"}  # as it was


def test_torchios_own_transforms_change_the_place_of_nothing(scan):
    canonical = torchio.Compose([torchio.ToCanonical(), GroundSubject(QUERY, model=MODEL, modality="CT")])
    made = canonical(torchio.Subject(image=image_of_scan(scan)))
    answer = made["answers"][0]
    expected = ground(encode(scan, MODEL), QUERY, MODEL)
    np.testing.assert_allclose(answer.instances[0].centroid_lps, expected.instances[0].centroid_lps, atol=1.0)
    # The label is on the image's grid, so that TorchIO samples patches of both.
    np.testing.assert_allclose(made[QUERY].affine, made["image"].affine, atol=1e-9)
    np.testing.assert_array_equal(label_of_answer(answer).data, made[QUERY].data)


def test_what_is_no_scan_is_refused():
    label = torchio.LabelMap(tensor=torch.zeros(1, 4, 4, 4, dtype=torch.uint8))
    with pytest.raises(ReadError, match="LabelMap is no scan"):
        scan_of_image(label)
    with pytest.raises(ReadError, match="2 channels"):
        scan_of_image(torchio.ScalarImage(tensor=torch.zeros(2, 4, 4, 4)))
    with pytest.raises(ReadError, match="no image 'ct'; expected one of image"):
        GroundSubject("mass", image="ct")(torchio.Subject(image=image_of_scan(patient("axial"))))
