"""A report holds every number and every place of an answer, coded, and says who made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from highdicom.sr import Comprehensive3DSR

import tips_med
from tests.exporters.dicom.answers import answer, answered
from tips_med.exporters.dicom import make_results, read_source
from tips_med.exporters.dicom.codes import REASON
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE
from tips_med.grounding import Decision, Grounding

SHA = "ab" * 32


def report_of(path: Path, grounding: Grounding) -> tuple[Comprehensive3DSR, Any, list[Any]]:
    """The report, its group about presence and its groups about instances."""
    made = make_results(grounding, read_source(path, grounding.scan), weights_sha256=SHA, key_image=False)
    report = Comprehensive3DSR.from_dataset(made.report)
    return (
        report,
        report.content.get_image_measurement_groups()[0],
        report.content.get_volumetric_roi_measurement_groups(),
    )


def numbers(group: Any) -> dict[str, tuple[float, str]]:
    return {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}


def texts(group: Any) -> list[str]:
    return [str(item.TextValue) for item in group[0].ContentSequence if "TextValue" in item]


def test_presence_is_measured_and_its_reasons_are_coded(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path, found=0)
    decision = Decision("unsure", 0.2, 0.31, assessed_fraction=0.62, reasons=("gap", "between-thresholds"))
    _, group, instances = report_of(path, replace(grounding, presence=decision))
    assert numbers(group) == {
        "Probability": (0.31, "1"),
        "Share of the searched region that was assessed": (0.62, "1"),
    }
    reasons = [item.value for item in group.get_qualitative_evaluations(name=REASON)]
    assert [(one.value, one.scheme_designator) for one in reasons] == [
        ("gap", "99TIPSMED"),
        ("between-threshol", "99TIPSMED"),
    ]
    assert reasons[0].meaning == "slices are missing in the searched region"
    assert instances == []
    assert str(group.tracking_identifier) == "query: ground glass opacity in the left lung"
    assert (group.finding_type.value, group.finding_category.value) == ("112120", "49755003")


def test_a_score_is_not_called_a_probability(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path, found=1)
    _, group, (instance,) = report_of(path, replace(grounding, presence=Decision("unsure", 0.25, None)))
    assert numbers(group)["Score of the model, not calibrated"] == (0.25, "1")
    assert "Probability" not in numbers(group)
    assert numbers(instance)["Score of the model, not calibrated"] == (0.9, "1")


def test_an_instance_has_its_measures_units_and_side(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    _, presence, (first, second) = report_of(path, grounding)
    assert numbers(first) == {
        "Volume": (1.25, "mL"),
        "Long axis": (12.5, "mm"),
        "Probability of the region by itself": (0.9, "1"),
        "Attenuation Coefficient": (-512.3, "[hnsf'U]"),
    }
    (mean,) = [item for item in first.get_measurements() if item.name.meaning == "Attenuation Coefficient"]
    assert mean.derivation is not None and mean.derivation.meaning == "Mean"
    for group, side in ((presence, "Left"), (first, "Left"), (second, "Right")):
        (site,) = group.finding_sites
        assert (site.value.meaning, site.laterality.meaning) == ("Lung", side)
    assert str(first.tracking_identifier) == "ground-glass opacity 1"
    assert (first.finding_type.value, first.finding_category.meaning) == (
        "112120",
        "Morphologically Abnormal Structure",
    )
    first_slice, last_slice = (n + 1 for n in grounding.instances[0].slices)
    (comment,) = [text for text in texts(first) if NOTICE in text]
    assert comment.startswith("upper third of the left lung. ") and comment.endswith(f"{NOTICE}.")
    assert str(first_slice) in comment or str(last_slice) in comment


def test_what_is_no_number_is_left_out_and_what_is_no_ct_has_no_hounsfield_units(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path, found=1)
    (one,) = grounding.instances
    _, _, (group,) = report_of(
        path, replace(grounding, instances=(replace(one, mean_hu=float("nan"), volume_ml=1.23456),))
    )
    assert "Attenuation Coefficient" not in numbers(group)
    assert numbers(group)["Volume"] == (1.235, "mL")
    unitless = replace(grounding, scan=replace(grounding.scan, unit=""))
    _, _, (group,) = report_of(path, unitless)
    assert "Attenuation Coefficient" not in numbers(group)


def test_a_place_in_the_lung_modifies_its_site(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    _, group, _ = report_of(path, answer(grounding.scan, "nodule in the right upper lobe", found=0))
    (site,) = group.finding_sites
    assert (site.value.meaning, site.laterality.meaning) == ("Lung", "Right")
    parts = [item.value.meaning for item in site.ContentSequence if "opographical" in item.name.meaning]
    assert len(parts) == 1 and "pper lobe" in parts[0]
    _, group, _ = report_of(path, answer(grounding.scan, "nodule", found=0))
    assert not group.finding_sites


def test_the_report_says_who_made_it_from_what(tmp_path: Path) -> None:
    path, grounding = answered(tmp_path)
    report, group, _ = report_of(path, grounding)
    assert (report.Manufacturer, report.ManufacturerModelName) == ("tips_med", grounding.model)
    assert (report.SoftwareVersions, report.DeviceSerialNumber) == (tips_med.__version__, SHA)
    assert (report.SeriesDescription, report.SeriesNumber, report.InstanceNumber) == (DESCRIPTION, 9702, 1)
    assert report.CompletionFlag == "COMPLETE"
    said = report.content[0].to_json()
    for words in ("tips_med", SHA, grounding.model, f"weights_sha256={SHA}", f"model={grounding.model}"):
        assert words in said, words
    (comment,) = [text for text in texts(group) if "Query" in text]
    assert comment == f"The answer in words. Query: ground glass opacity in the left lung. {NOTICE}."
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99TIPSMED"
    again, _, _ = report_of(path, grounding)
    device = [
        hd.sr.utils.find_content_items(one.content[0], name=hd.sr.CodedConcept("121012", "DCM", ""))
        for one in (report, again)
    ]
    assert [str(item.UID) for item in device[0]] == [str(item.UID) for item in device[1]], "one device for all reports"


@pytest.mark.parametrize(
    ("modality", "code"), [("CT", "25045-6"), ("MR", "25056-3"), ("PT", "44136-0"), ("US", "363679005")]
)
def test_the_procedure_is_that_of_the_modality(tmp_path: Path, modality: str, code: str) -> None:
    path, grounding = answered(tmp_path, found=0)
    report, _, _ = report_of(path, replace(grounding, scan=replace(grounding.scan, modality=modality)))
    assert code in str(report.content[0])
