from __future__ import annotations

import dataclasses

import numpy as np

from tests.synthesis.test_scene import anatomy
from tips_med.synthesis.anatomy import Anatomy
from tips_med.synthesis.organs import LABELS, from_named, swapped


def test_mirroring_swaps_what_has_a_side_and_nothing_else():
    labels = np.arange(len(LABELS), dtype=np.uint8)
    mirrored = swapped(labels)
    assert mirrored[LABELS["kidney_right"]] == LABELS["kidney_left"]
    assert mirrored[LABELS["rib_left"]] == LABELS["rib_right"]
    assert mirrored[LABELS["liver"]] == LABELS["liver"]
    np.testing.assert_array_equal(swapped(mirrored), labels)


def test_other_peoples_names_are_brought_to_ours_and_the_unknown_becomes_background():
    names = {1: "spleen", 2: "kidney_right", 3: "heart_ventricle_left", 4: "vertebrae_L1", 5: "rib_left_7", 6: "face"}
    labels = from_named(np.arange(7), names)
    wanted = ["background", "spleen", "kidney_right", "heart", "spine", "rib_left", "background"]
    assert labels.tolist() == [LABELS[organ] for organ in wanted]


def test_labels_of_organs_are_saved_with_an_anatomy(tmp_path):
    organs = np.zeros(anatomy().lungs.shape, np.uint8)
    organs[3:6, 40:50, 60:80] = LABELS["heart"]
    body = dataclasses.replace(anatomy(), organs=organs)
    body.save(tmp_path / "body.safetensors")
    np.testing.assert_array_equal(Anatomy.load(tmp_path / "body.safetensors").organs, organs)
    anatomy().save(tmp_path / "plain.safetensors")
    assert Anatomy.load(tmp_path / "plain.safetensors").organs is None
