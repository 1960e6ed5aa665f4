from __future__ import annotations

import numpy as np
import pytest

from pipelines.check_manifest import check_manifest
from tests.manifest.files import AFFINE, SHAPE, a_mask, a_scan, write_nifti
from tips_med.cli import main
from tips_med.manifest.check import UnusableManifestError


@pytest.fixture
def tree(tmp_path):
    for n, name in enumerate(("one", "two")):
        write_nifti(tmp_path / name / "ct.nii.gz", a_scan(patient=n))
    write_nifti(tmp_path / "mask.nii.gz", a_mask().astype(np.uint8))
    write_nifti(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8))
    write_nifti(tmp_path / "moved.nii.gz", a_mask().astype(np.uint8), AFFINE + np.eye(4)[:, [3, 0, 1, 2]] * 0.3)
    return tmp_path


def manifest(folder, *lines):
    path = folder / "m.csv"
    path.write_text("scan,phrase,mask,label,patient,split\n" + "\n".join(lines) + "\n")
    return path


def test_a_good_manifest_is_counted(tree):
    path = manifest(
        tree,
        "one/ct.nii.gz,mass in the left lung,mask.nii.gz,present,a,train",
        "one/ct.nii.gz,no pleural effusion,,,a,train",
        "two/ct.nii.gz,mass with frobnication,,unknown,b,val",
    )
    report = check_manifest(str(path))
    assert report.usable
    assert (report.rows, report.scans, report.patients) == (3, 2, 2)
    assert report.counts["mass", "train", "present"] == report.counts["mass", "train", "outlined"] == 1
    assert report.counts["pleural_effusion", "train", "absent"] == 1
    assert [(p.line, p.code, p.fatal) for p in report.problems] == [(4, "unknown-words", False)]
    assert "frobnication" in str(report)


def test_every_problem_is_named_with_its_line(tree):
    path = manifest(
        tree,
        "one/ct.nii.gz,mass,empty.nii.gz,present,a,train",
        "one/ct.nii.gz,nodule,moved.nii.gz,present,a,train",
        "one/ct.nii.gz,consolidation,mask.nii.gz,absent,a,train",
        "two/ct.nii.gz,mass,nowhere.nii.gz,,b,train",
        "two/ct.nii.gz,xyzzy,,,b,val",
        "none/ct.nii.gz,mass,,,c,val",
        "one/ct.nii.gz,mass,empty.nii.gz,present,a,train",
    )
    with pytest.raises(UnusableManifestError) as caught:
        check_manifest(str(path))
    found = {(p.line, p.code) for p in caught.value.report.problems}
    assert {
        (2, "empty-mask"),
        (3, "other-grid"),
        (4, "mask-of-absent"),
        (5, "mask-unreadable"),
        (6, "unknown-words"),
        (5, "two-splits"),
        (6, "two-splits"),
        (8, "twice"),
    } <= found
    assert any(line == 7 for line, _ in found)


def test_the_command_fails_with_the_table(tree, capsys):
    path = manifest(tree, "one/ct.nii.gz,mass,empty.nii.gz,present,a,train")
    assert main(["check-manifest", str(path), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "empty-mask" in said
    assert "not usable" in said
    path = manifest(tree, "one/ct.nii.gz,mass,mask.nii.gz,present,a,train")
    assert main(["check-manifest", str(path), "--quiet"]) == 0
    assert "1 rows, 1 scans, 1 patients" in capsys.readouterr().out


def found_in(folder, *lines):
    """Codes by line of what is wrong, fatal ones only; and the report."""
    try:
        report = check_manifest(str(manifest(folder, *lines)))
    except UnusableManifestError as error:
        report = error.report
    return {(p.line, p.code) for p in report.problems if p.fatal}, report


def test_what_is_no_mask_is_refused(tree):
    chance = a_mask() * np.float32(0.7)
    write_nifti(tree / "full.nii.gz", np.ones(SHAPE, np.uint8))
    write_nifti(
        tree / "half.nii.gz", (np.arange(SHAPE[0])[:, None, None] < 3).repeat(10, 1).repeat(12, 2) * np.uint8(1)
    )
    write_nifti(tree / "chance.nii.gz", chance)
    write_nifti(tree / "unsigned.nii.gz", (a_scan() + 1000).astype(np.uint16))
    write_nifti(tree / "copy.nii.gz", a_scan())
    codes, report = found_in(
        tree,
        "one/ct.nii.gz,mass,one/ct.nii.gz,,a,train",
        "one/ct.nii.gz,nodule,copy.nii.gz,,a,train",
        "one/ct.nii.gz,consolidation,unsigned.nii.gz,,a,train",
        "one/ct.nii.gz,emphysema,chance.nii.gz,,a,train",
        "one/ct.nii.gz,pleural effusion,full.nii.gz,,a,train",
        "one/ct.nii.gz,lung,half.nii.gz,,a,train",
    )
    assert codes == {
        (2, "mask-is-scan"),
        (3, "mask-values"),
        (4, "mask-values"),
        (5, "mask-values"),
        (6, "full-mask"),
    }
    assert [(p.line, p.code) for p in report.problems if not p.fatal] == [(7, "large-mask")]


def test_a_mask_of_what_is_ignored_is_checked(tree):
    header = "scan,phrase,mask,part,label,patient,split,ignore"
    write_nifti(tree / "ignored.nii.gz", np.ones(SHAPE, np.uint8))
    write_nifti(tree / "most.nii.gz", (~a_mask()).astype(np.uint8))
    lines = [f"one/ct.nii.gz,mass,mask.nii.gz,,,a,train,{name}.nii.gz" for name in ("ignored", "most", "nothing")]
    (tree / "ignoring.csv").write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(UnusableManifestError) as caught:
        check_manifest(str(tree / "ignoring.csv"))
    problems = {(p.line, p.code): p.fatal for p in caught.value.report.problems}
    assert problems[2, "all-ignored"]
    assert problems[3, "large-ignore"] is False
    assert problems[4, "mask-unreadable"]


def test_a_denied_finding_with_a_mask_is_not_taken_for_present(tree):
    codes, _ = found_in(tree, "one/ct.nii.gz,no mass,mask.nii.gz,,a,train", "two/ct.nii.gz,no nodule,,present,b,train")
    assert codes == {(2, "mask-of-absent"), (3, "label-of-negated")}


def test_values_that_train_would_leave_out_are_told_with_their_scan(tree):
    write_nifti(tree / "scaled.nii.gz", (a_scan() / 1000).astype(np.float32))
    codes, report = found_in(tree, "scaled.nii.gz,mass,mask.nii.gz,,a,train")
    assert codes == {(2, "modality")}
    assert "scaled.nii.gz" in report.problems[0].text
    assert check_manifest(str(tree / "m.csv"), modalities=()).usable
