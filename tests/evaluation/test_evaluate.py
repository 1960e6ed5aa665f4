from __future__ import annotations

import html
import json

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import MASS, body, rule_model
from tips_med.errors import OutputError
from tips_med.evaluation import evaluate_rows, write_evaluation
from tips_med.evaluation.meanings import meaning_of
from tips_med.evaluation.page import PICTURES, Gallery, check_place
from tips_med.manifest import ManifestError, Row

LEFT_MASS = ((60.0, 0.0, 20.0), 15.0, MASS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    with_mass, without = body([LEFT_MASS]), body()
    truth = (with_mass.voxels != without.voxels).astype(np.uint8)
    for name, scan in (("with", with_mass), ("without", without)):
        write_nifti(folder / name / "ct.nii.gz", scan.voxels.astype(np.int16), scan.lps_from_kji)
    mask = write_nifti(folder / "with" / "mass.nii.gz", truth, with_mass.lps_from_kji)
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    return [
        Row(folder / "with" / "ct.nii.gz", "mass in the left lung", mask, patient="a", line=2),
        Row(folder / "without" / "ct.nii.gz", "no mass in the left lung", patient="b", line=3),
        Row(folder / "broken.nii.gz", "mass", patient="c", line=4),
        Row(folder / "with" / "ct.nii.gz", "emphysema", patient="a", line=5),
    ]


@pytest.fixture(scope="module")
def evaluated(rows, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "evaluation"
    check_place(out)
    gallery = Gallery(out / PICTURES, 1)
    swaps = {"mass": "ground_glass_opacity"}
    found = evaluate_rows(
        rows, rule_model(), folder=rows[0].scan.parents[1], other_findings=swaps, draws=50, watch=gallery.add
    )
    write_evaluation(found, out, {"manifest": "m.csv", "split": "test"}, gallery)
    return found, out


def test_a_model_that_is_right_scores_so(evaluated):
    values = evaluated[0].overall
    assert values["dice_present"]["value"] > 0.7
    assert values["dice"]["cases"] == 2
    assert values["auroc"]["value"] == 1.0
    assert values["pointing"]["value"] == 1.0
    assert values["swap_side_follows"]["value"] == values["swap_finding_follows"]["value"] == 1.0
    assert values["swap_side_leak"]["value"] == 0.0
    assert "swap_level_follows" not in values  # nothing in the phrases has a level
    assert values["paraphrase_stability"]["value"] > 0.9
    assert set(evaluated[0].terms) == {"mass"}


def test_rows_that_cannot_be_asked_are_counted_with_their_reason(evaluated, rows):
    found, _ = evaluated
    assert {one["line"]: one["code"] for one in found.skipped} == {4: "damaged-file", 5: "not-trained"}
    assert "skipped, line 4" in str(found)
    with pytest.raises(ManifestError):
        evaluate_rows(rows[2:], rule_model())


def test_strict_stops_at_the_first(rows):
    with pytest.raises(Exception, match=r"broken\.nii\.gz"):
        evaluate_rows(rows[2:], rule_model(), strict=True)


@pytest.mark.parametrize("as_written", [False, True])
def test_unusual_synonyms_are_put_to_the_model_as_written_only_where_that_is_tested(rows, as_written):
    row = Row(rows[0].scan, "mass-like opacity in the left lung", rows[0].mask, line=2)
    answered = []
    evaluate_rows([row], rule_model(), paraphrases=0, as_written=as_written, draws=5, watch=answered.append)
    said = "mass like opacity in the left lung" if as_written else "mass in the left lung"
    assert [case.grounding.query.phrase for case in answered] == [said]


def test_a_mask_that_contradicts_its_label_is_not_scored(rows):
    wrong = Row(rows[1].scan, "mass", rows[0].mask, label="absent", line=7)
    with pytest.raises(ManifestError, match="contradicts"):
        evaluate_rows([wrong], rule_model())


def test_json_and_page_say_the_same_and_name_no_place(evaluated):
    found, out = evaluated
    content = json.loads((out / "evaluation.json").read_text())
    assert content["format"] == "tips_med-evaluation-1"
    assert content["overall"] == found.overall
    assert [case["scan"] for case in content["cases"]] == ["with/ct.nii.gz", "without/ct.nii.gz"]
    page = (out / "index.html").read_text()
    assert "not a medical device" in page
    assert f"{found.overall['dice']['value']:.3f}" in page
    for name in found.overall:
        assert html.escape(meaning_of(name), quote=True) in page
        assert len(meaning_of(name)) > 10
    pictures = list((out / PICTURES).iterdir())
    assert [picture.name for picture in pictures] == ["line-2.png"]
    assert f"{PICTURES}/line-2.png" in page


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        check_place(tmp_path)
