"""Validation is of whole studies, as ``ground`` answers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import AFFINE, MASS, body, rule_model
from tips_med.grounding import encode, ground
from tips_med.manifest import Row, write_manifest
from tips_med.query import Lexicon
from tips_med.readers import read_scan
from tips_med.training.crops import DataSpec
from tips_med.training.manifest_data import ManifestData
from tips_med.training.validation import validate_study

LEXICON = Lexicon.load("chest_ct")


@pytest.fixture
def module(tmp_path) -> ManifestData:
    scan = body([((-60, 0, 0), 15, MASS), ((60, 10, 30), 12, MASS)])
    marked = body([((-60, 0, 0), 15, 900.0)]).voxels == 900
    ct = write_nifti(tmp_path / "ct.nii.gz", scan.voxels.astype(np.int16), AFFINE)
    mask = write_nifti(tmp_path / "mask.nii.gz", marked.astype(np.uint8), AFFINE)
    rows = [
        Row(ct, "mass in the right lung", mask, patient="1", split="val"),
        Row(ct, "no mass", patient="1", split="val"),  # which is wrong
        Row(ct, "pneumothorax", patient="1", label="absent", split="val"),  # which the model refuses
        Row(ct, "nodule", patient="1", label="present", split="val"),  # where, nobody said
        Row(ct, "mass", mask, patient="1", split="train"),
    ]
    spec = DataSpec(write_manifest(rows, tmp_path / "manifest.csv"), shape=(8, 32, 32))
    found = ManifestData(spec, rule_model(), LEXICON, tmp_path / "cache", steps=1)
    found.prepare_data()
    return found


def test_it_measures_what_ground_answers(module):
    (file,) = list(module.val_dataloader())
    outlined, absent = validate_study(file, rule_model())

    study = encode(read_scan(module.rows[0].scan), rule_model())
    there = ground(study, "mass in the right lung", rule_model())
    assert outlined.label.phrase == "mass in the right lung"
    assert outlined.dice > 0.85
    assert outlined.answer.presence.state == there.presence.state == "present"
    assert absent.term == "mass"
    # Marked of both, about: the model marks on a grid of its own.
    both_ml = sum(one.volume_ml for one in ground(study, "mass", rule_model()).instances)
    assert absent.false_ml == pytest.approx(both_ml, rel=0.1)
    assert absent.truth is None


def test_nothing_is_measured_where_nobody_knows(module, tmp_path):
    everywhere = np.ones(read_scan(module.rows[0].scan).shape, np.uint8)
    left = everywhere.copy()
    left[:, :, : left.shape[2] // 2] = 0  # columns run to the patient's left, where the other mass is
    ignore = write_nifti(tmp_path / "ignore.nii.gz", left, AFFINE)
    rows = [replace(row, ignore=ignore) for row in module.rows]
    spec = DataSpec(write_manifest(rows, tmp_path / "ignoring.csv"), shape=(8, 32, 32))
    ignoring = ManifestData(spec, rule_model(), LEXICON, tmp_path / "cache", steps=1)
    ignoring.prepare_data()
    before, after = (list(validate_study(list(one.val_dataloader())[0], rule_model())) for one in (module, ignoring))
    assert after[0].dice == pytest.approx(before[0].dice)  # of the right lung, where all is known
    assert 0.4 * before[1].false_ml < after[1].false_ml < 0.8 * before[1].false_ml


def test_a_subset_is_the_first_studies(module):
    module.files["val"] = [module.files["val"][0]] * 3
    module.spec = DataSpec(module.spec.manifest, val_studies=2)
    assert len(list(module.val_dataloader())) == 2
