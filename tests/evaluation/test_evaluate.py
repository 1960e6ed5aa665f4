from __future__ import annotations

import html
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.manifest.files import write_nifti
from tests.phantom import MASS, body, rule_model
from tips_med.errors import OutputError, QueryError, TipsMedError
from tips_med.evaluation import Asking, Gallery, asking, evaluate_rows, write_evaluation
from tips_med.evaluation.meanings import meaning_of
from tips_med.evaluation.page import PICTURES, check_place
from tips_med.evaluation.run import Evaluation, name_scans
from tips_med.evaluation.suite import EvaluatedRow
from tips_med.manifest import ManifestError, Row, read_mask
from tips_med.readers import read_scan

ground_module = import_module("tips_med.grounding.ground")
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
    found = evaluate_rows(rows, rule_model(), Asking(swaps), folder=rows[0].scan.parents[1], draws=50, gallery=gallery)
    write_evaluation(found, out, {"manifest": "m.csv", "split": "test"}, gallery)
    return found, out


def test_a_model_that_is_right_scores_so(evaluated):
    values = evaluated[0].overall
    assert values["dice_present"]["value"] > 0.7
    assert values["dice"]["cases"] == 2
    assert values["dice_present"]["cases"] == 1
    assert values["rex_dice"]["value"] > 0.7
    assert values["rex_recall"]["value"] == 1.0
    assert values["rex_f1"]["cases"] == 1
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
        evaluate_rows(rows[2:], rule_model(), Asking(strict=True))


@pytest.mark.parametrize("as_written", [False, True])
def test_unusual_synonyms_are_put_to_the_model_as_written_only_where_that_is_tested(rows, as_written):
    row = Row(rows[0].scan, "mass-like opacity in the left lung", rows[0].mask, line=2)
    answered = []
    evaluate_rows([row], rule_model(), Asking(paraphrases=0, as_written=as_written), draws=5, watch=answered.append)
    said = "mass like opacity in the left lung" if as_written else "mass in the left lung"
    assert [case.grounding.query.phrase for case in answered] == [said]


def test_a_mask_that_contradicts_its_label_is_not_scored(rows):
    wrong = Row(rows[1].scan, "mass", rows[0].mask, label="absent", line=7)
    with pytest.raises(ManifestError, match="contradicts"):
        evaluate_rows([wrong], rule_model())


def test_what_is_marked_where_nobody_knows_is_not_measured(rows, tmp_path):
    answered = []
    row = replace(rows[0], phrase="mass", label="present")
    truth = read_mask(row.mask, read_scan(row.scan))
    rest = write_nifti(tmp_path / "rest.nii.gz", (~truth).astype(np.uint8), read_scan(row.scan).lps_from_kji)
    found = evaluate_rows([row, replace(row, ignore=rest)], rule_model(), Asking(paraphrases=0), draws=5,
                          watch=answered.append)  # fmt: skip
    plain, ignoring = answered
    assert (plain.grounding.mask & ~truth).any()
    assert not (ignoring.grounding.mask & ~truth).any()
    assert np.array_equal(ignoring.grounding.mask & truth, plain.grounding.mask & truth)
    assert found.cases[1]["dice"] > found.cases[0]["dice"]
    with pytest.raises(ManifestError, match="ignored"):
        evaluate_rows([replace(row, ignore=row.mask)], rule_model())


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


def test_nothing_is_encoded_for_phrases_that_are_refused(rows, monkeypatch):
    monkeypatch.setattr(asking, "encode", lambda scan, model: pytest.fail("was encoded"))
    refused = [Row(rows[0].scan, phrase, line=n) for n, phrase in enumerate(("xyzzy", "emphysema"))]
    with pytest.raises(ManifestError, match="xyzzy"):
        evaluate_rows(refused, rule_model())
    monkeypatch.setattr(ground_module, "encode", lambda scan, model: pytest.fail("was encoded"))
    with pytest.raises(QueryError):
        ground_module.ground(body(), "xyzzy", rule_model())


def test_several_processes_give_the_same_with_the_same_pictures(rows, evaluated, tmp_path):
    told = []
    gallery = Gallery(tmp_path / PICTURES, 1)
    found = evaluate_rows(
        rows,
        rule_model(),
        Asking({"mass": "ground_glass_opacity"}),
        folder=rows[0].scan.parents[1],
        draws=50,
        gallery=gallery,
        workers=2,
        load=rule_model,
        progress=lambda done, total: told.append((done, total)),
    )
    assert found.overall == evaluated[0].overall
    assert found.terms == evaluated[0].terms
    assert found.cases == evaluated[0].cases
    assert {one["line"] for one in found.skipped} == {4, 5}
    assert [path.name for path in (tmp_path / PICTURES).iterdir()] == ["line-2.png"]
    assert told[-1] == (4, 4)


def test_an_error_in_a_process_stops_all(rows):
    with pytest.raises(TipsMedError, match=r"broken\.nii\.gz"):
        evaluate_rows(rows[1:3], rule_model(), Asking(strict=True), workers=2, load=rule_model)


def test_scans_that_are_kept_encoded_are_not_encoded_again(rows, tmp_path, monkeypatch):
    kept = Asking(paraphrases=0, studies=tmp_path)
    first = evaluate_rows(rows[:1], rule_model(), kept, draws=5)
    (stored,) = tmp_path.iterdir()
    monkeypatch.setattr(asking, "encode", lambda scan, model: pytest.fail("was encoded again"))
    again = evaluate_rows(rows[:1], rule_model(), kept, draws=5)
    assert again.cases == first.cases
    monkeypatch.undo()
    stored.write_bytes(stored.read_bytes()[:1000])
    assert evaluate_rows(rows[:1], rule_model(), kept, draws=5).cases == first.cases
    assert stored.stat().st_size > 1000


def test_scans_have_names_that_differ(tmp_path):
    inside = tmp_path / "a" / "ct.nii.gz"
    elsewhere = [Path("/data/one/dicom"), Path("/data/two/dicom"), Path("/more/two/dicom")]
    names = name_scans([inside, *elsewhere], tmp_path)
    assert names == ["a/ct.nii.gz", "one/dicom", "data/two/dicom", "more/two/dicom"]


def false_positive(rows, line, volume_ml, present=False):
    """A case that marks a volume where there is nothing (or the truth itself)."""
    scan = body()
    mask = np.zeros(scan.shape, bool)
    mask.reshape(-1)[: round(volume_ml * 1000 / 18)] = True  # voxels of 18 cubic mm
    answer = ground_module.ground(scan, "mass", rule_model())
    answer = replace(answer, labels=mask.astype(np.uint8))
    truth = mask if present else mask & False
    return EvaluatedRow(line, "scan", answer, "present" if present else "absent", truth, "a")


def test_the_largest_false_positives_have_pictures(rows, tmp_path):
    one, other = Gallery(tmp_path, 2), Gallery(tmp_path, 2)
    for line, volume_ml in ((2, 30), (3, 0), (4, 299)):
        one.add(false_positive(rows, line, volume_ml))
    for line, volume_ml in ((5, 100), (6, 5)):
        other.add(false_positive(rows, line, volume_ml))
    other.add(false_positive(rows, 7, 10, present=True))
    one.take_over(other)
    assert [picture.facts["line"] for picture in one.false_positives()] == [4, 5]
    assert [picture.facts["line"] for picture in one.worst()] == [7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line-4.png", "line-5.png", "line-7.png"]
    found = Evaluation("model", {}, {}, (false_positive(rows, 4, 299).facts(),), ())
    page = write_evaluation(found, tmp_path, {}, one)[1].read_text()
    assert "False positives" in page
    assert f"{PICTURES}/line-4.png" in page
    assert "299.0 ml marked" in page
    assert '<a href="#line-4">4</a>' in page


def test_the_table_of_cases_sorts_by_keyboard_and_without_network(evaluated):
    page = (evaluated[1] / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    table = page.partition('<table class="sortable">')[2].partition("</table>")[0]
    assert table.count('<button type="button">') == table.count("<th ") == 10
    assert table.count("<tr>") == 1 + len(evaluated[0].cases)
    assert "<td>with/ct.nii.gz</td>" in table
    assert f'data-value="{evaluated[0].cases[0]["dice"]}"' in table
