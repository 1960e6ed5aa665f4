from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from pipelines.make_manifest import make_manifest
from tests.manifest.files import SHAPE, a_mask, a_scan, write_nifti
from tips_med.manifest import ManifestError, check_rows, read_manifest
from tips_med.manifest.adapters import rows_of
from tips_med.query import Lexicon

LEXICON = Lexicon.load("chest_ct")


def test_a_decathlon_task(tmp_path):
    for name, mask in (("lung_001", a_mask()), ("lung_003", a_mask() & False)):
        write_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", a_scan())
        write_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", mask.astype(np.uint8))
    about = {
        "name": "Lung",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "cancer"},
        "numTraining": 2,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("lung_001", "lung_003")
        ],
        "test": ["./imagesTs/lung_002.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    path = make_manifest("decathlon", tmp_path / "m.csv", tmp_path, {"cancer": "lung mass"})
    rows = read_manifest(path)
    assert [(r.phrase, r.part, r.label, r.patient) for r in rows] == [
        ("lung mass", "1", "present", "lung_001"),
        ("lung mass", "1", "absent", "lung_003"),
    ]
    assert check_rows(rows, LEXICON).usable


def test_totalsegmentator(tmp_path):
    write_nifti(tmp_path / "s0000" / "ct.nii.gz", a_scan())
    for name, mask in (("lung_upper_lobe_left", a_mask()), ("lung_upper_lobe_right", np.zeros(SHAPE, bool))):
        write_nifti(tmp_path / "s0000" / "segmentations" / f"{name}.nii.gz", mask.astype(np.uint8))
    (tmp_path / "meta.csv").write_text("image_id;age;gender;split\ns0000;70;f;val\n")
    rows = rows_of("totalsegmentator", tmp_path)
    assert [(r.phrase, r.label, r.split) for r in rows] == [
        ("left lung upper lobe", "present", "val"),
        ("right lung upper lobe", "absent", "val"),
    ]
    report = check_rows(rows, LEXICON)
    assert report.usable, str(report)


def test_rexgroundingct(tmp_path):
    name = "train_12_a_1.nii.gz"
    write_nifti(tmp_path / "ct_rate" / "train_12" / "train_12_a" / name, a_scan())
    (tmp_path / "segmentations").mkdir()
    both = np.stack([a_mask().T, np.flip(a_mask().T, 0)]).astype(np.uint8)
    nib.save(nib.Nifti1Image(both, np.eye(4)), tmp_path / "segmentations" / name)
    findings = {"0": "Nodule in the left upper lobe.", "1": "Ground-glass opacity in the right lower lobe."}
    about = {
        "train": [{"name": name, "findings": findings, "categories": {"0": "2d", "1": "2c"}}],
        "test": [{"name": "valid_3_a_1.nii.gz", "findings": {"0": "Consolidation in the lingula."}}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    rows = rows_of("rexgroundingct", tmp_path, images=tmp_path / "ct_rate")
    assert [(r.part, r.patient, r.split) for r in rows] == [
        ("first:0", "train_12", "train"),
        ("first:1", "train_12", "train"),
        (None, "valid_3", "test"),
    ]
    assert rows[2].mask is None
    report = check_rows(rows[:2], LEXICON)
    assert report.usable, str(report)


@pytest.mark.parametrize("layout", ["decathlon", "totalsegmentator", "rexgroundingct", "other"])
def test_a_folder_of_another_layout_is_named(tmp_path, layout):
    with pytest.raises(ManifestError) as caught:
        rows_of(layout, tmp_path)
    assert caught.value.code == "layout"
