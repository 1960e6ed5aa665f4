from __future__ import annotations

import json
import zipfile

import nibabel as nib
import numpy as np
import pytest

import pipelines.make_submission as pipeline
from tests.manifest.files import write_nifti
from tests.phantom import AFFINE, MASS, body, rule_model
from tips_med.evaluation.submission import SubmissionError, check_submission, write_submission
from tips_med.manifest.adapters import find_volumes, read_rexgroundingct
from tips_med.metrics import ReXGroundingCT

MIRRORED = AFFINE @ np.diag([1.0, 1, -1, 1])
MIRRORED[:3, 3] = -MIRRORED[:3, :3] @ (np.array((80, 100, 100)) - 1) / 2
NAMES = ("valid_1_a_1.nii.gz", "valid_2_a_1.nii.gz")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two scans, one of them mirrored in memory; truths as the data set stores them: no affine, labels as instances."""
    folder = tmp_path_factory.mktemp("rex")
    (folder / "segmentations").mkdir()
    spheres = [((60.0, 0.0, 20.0), 15.0, MASS), ((-60.0, 5.0, -30.0), 14.0, MASS)]
    for name, affine in zip(NAMES, (AFFINE, MIRRORED)):
        scan = body(spheres, affine)
        write_nifti(folder / "ct" / name.split("_")[1] / name, scan.voxels.astype(np.int16), affine)
        labels = [body([one], affine).voxels == MASS for one in spheres]
        both = labels[0] + 2 * labels[1]
        stack = np.stack([labels[0].T, both.T, both.T * 0]).astype(np.uint8)
        nib.save(nib.Nifti1Image(stack, np.eye(4)), folder / "segmentations" / name)
    findings = {"0": "A mass in the left lung.", "1": "Masses in both lungs.", "2": "Honeycombing is seen."}
    about = {"val": [{"name": name, "findings": findings} for name in NAMES], "train": []}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def submission(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "submission.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "open_model", lambda name, device: rule_model())
        made = pipeline.make_submission(dataset / "dataset.json", dataset / "ct", out, split="val")
    return made, out


def test_the_archive_is_scored_by_the_definition_of_the_leaderboard(dataset, submission, tmp_path):
    made, out = submission
    assert (made.scans, made.findings, made.empty) == (2, 6, 2)
    assert [(name, number) for name, number, _ in made.declined] == [(name, 2) for name in NAMES]
    assert "honeycombing" in str(made).lower()
    metric = ReXGroundingCT()
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == sorted(NAMES)
        archive.extractall(tmp_path)
    for name in NAMES:
        truth = np.asanyarray(nib.load(dataset / "segmentations" / name).dataobj)
        image = nib.load(tmp_path / name)
        assert image.get_data_dtype() == np.uint8
        predicted = np.asanyarray(image.dataobj)
        assert predicted.shape == truth.shape
        metric.update(predicted, truth)  # findings are the channels
    values = metric.compute()
    assert float(values["rex_dice"]) > 0.85
    assert float(values["rex_hit_rate"]) == float(values["rex_precision"]) == float(values["rex_recall"]) == 1.0


@pytest.fixture
def parts(dataset, tmp_path):
    cases, volumes = read_rexgroundingct(dataset / "dataset.json"), find_volumes(dataset / "ct")
    shape = nib.load(volumes[NAMES[0]]).shape
    return cases, volumes, np.zeros((3, *shape), np.uint8), tmp_path / "s.zip"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda whole, masks: [(NAMES[0], masks)], r"lacks 1 file\(s\): valid_2"),
        (lambda whole, masks: [*whole, ("more.nii.gz", masks)], "holds, beside the scans of the split, 1"),
        (lambda whole, masks: [whole[0], (NAMES[1], masks[:2])], r"of shape \(2, .*expected \(3, "),
        (lambda whole, masks: [whole[0], (NAMES[1], masks.transpose(0, 3, 2, 1))], r"of shape .*\[finding h w d\]"),
        (lambda whole, masks: [whole[0], (NAMES[1], (masks + 0.4).astype(np.float32))], "holds float32 from 0.4"),
        (lambda whole, masks: [whole[0], (NAMES[1], masks + np.uint8(255))], "uint8 from 255"),
    ],
)
def test_what_would_not_be_scored_is_found_when_it_is_read_back(parts, spoil, told):
    cases, volumes, masks, out = parts
    whole = [(name, masks) for name in NAMES]
    write_submission(whole, out)
    assert check_submission(out, cases, volumes).empty == 6
    write_submission(spoil(whole, masks), out)
    with pytest.raises(SubmissionError, match=told):
        check_submission(out, cases, volumes)


def test_a_damaged_archive_and_a_missing_scan_are_named(parts, dataset, tmp_path):
    cases, volumes, masks, out = parts
    write_submission([(name, masks) for name in NAMES], out)
    out.write_bytes(out.read_bytes()[:-40])
    with pytest.raises(SubmissionError, match="cannot be read"):
        check_submission(out, cases, volumes)
    with pytest.raises(SubmissionError, match="lacks 2 of 2 scans, valid_1"):
        pipeline.make_submission(dataset / "dataset.json", tmp_path, out, split="val")
    with pytest.raises(SubmissionError, match="no case of the split 'test'"):
        pipeline.make_submission(dataset / "dataset.json", dataset / "ct", out)
