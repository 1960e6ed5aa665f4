"""The report keeps to its schema, says what the answer says, and is plain JSON."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pydicom.sr.codedict import codes

from tests.exporters.patient import make_grounding, make_scan
from tips_med.errors import OutputError, QueryError
from tips_med.exporters.report import report, schema, write_report
from tips_med.grounding import Declined
from tips_med.scan import Provenance, Scan

NAN = float("nan")


def errors(content: Any) -> list[str]:
    """What the schema has against a report."""
    return [error.message for error in Draft202012Validator(schema()).iter_errors(content)]


@pytest.fixture
def content() -> dict[str, Any]:
    grounding = make_grounding(text="ground-glass opacity in the left lower lobe of zorp", second=True)
    return report(grounding.scan, [grounding], {"name": "compact-1", "sha256": "01ab"})


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


def test_report_keeps_to_the_schema(any_scan: Scan) -> None:
    groundings = [
        make_grounding(any_scan, second=True),
        make_grounding(any_scan, "no pleural effusion", state="absent"),
        make_grounding(any_scan, "right lung", state="unsure"),
    ]
    content = report(any_scan, groundings, {"name": "m"}, folders=["1", "2", "3"], files=[["1/a"], [], []])
    assert errors(content) == []
    assert errors(json.loads(json.dumps(content, allow_nan=False))) == []


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("format", to="another/1"),
        _set("research_use_only", to=False),
        _set("model", to={}),
        _set("answers", 0, "presence", to="maybe"),
        _set("answers", 0, "probability", to=1.5),
        _set("answers", 0, "peak_lps", to=[1.0, 2.0]),
        _set("answers", 0, "side", to="middle"),
        _set("answers", 0, "instances", 0, "label", to=0),
        _set("answers", 0, "instances", 0, "slices", to=[1]),
        _set("answers", 0, "instances", 0, "volume_ml", to=-1),
        _set("answers", 0, "finding", "code", to={"scheme": "SCT"}),
        _set("scan", "shape_kji", to=[0, 1, 1]),
        _set("scan", "orientation", to="XYZ"),
        lambda content: content["answers"][0].pop("sentence"),
        lambda content: content["answers"][0]["instances"][0].pop("region"),
        lambda content: content.pop("scan"),
    ],
)
def test_schema_refuses_what_is_wrong(change: Callable[[dict[str, Any]], None], content: dict[str, Any]) -> None:
    assert errors(content) == []
    changed = copy.deepcopy(content)
    change(changed)
    assert errors(changed)


def test_it_says_what_the_answer_says(content: dict[str, Any]) -> None:
    grounding = make_grounding(text="ground-glass opacity in the left lower lobe of zorp", second=True)
    (answer,) = content["answers"]
    assert answer["query"] == "ground-glass opacity in the left lower lobe of zorp"
    assert (answer["presence"], answer["probability"]) == ("present", 0.93)
    assert (answer["negated"], answer["holds"]) == (False, None)
    assert answer["understood"] == list(grounding.query.understood)
    assert answer["unknown_words"] == ["zorp"]
    assert answer["peak_lps"] == [38.0, 16.0, 14.0]
    assert answer["sentence"] == grounding.sentence
    first = answer["instances"][0]
    assert first["slices"] == [15, 19]
    assert first["instance_uids"] == [f"1.2.3.{k}" for k in range(15, 20)]
    assert (first["label"], first["side"], first["long_axis_mm"]) == (1, "left", 18.0)
    assert content["scan"]["series_uid"] == "1.2.3"
    assert content["model"] == {"name": "compact-1", "sha256": "01ab"}


def test_codes_are_those_of_dicom(content: dict[str, Any]) -> None:
    (answer,) = content["answers"]
    assert answer["finding"]["code"]["value"] == "112120"
    assert answer["finding"]["code"]["scheme"] == "DCM"
    for coded, expected in [
        (answer["structure"]["code"], codes.SCT.Lung),
        (answer["laterality"], codes.SCT.Left),
        (answer["instances"][1]["laterality"], codes.SCT.Right),
    ]:
        assert (coded["scheme"], coded["value"]) == (expected.scheme_designator, expected.value)
    both = make_grounding(text="bilateral ground-glass opacities")
    coded = report(both.scan, [both], {})["answers"][0]["laterality"]
    assert coded["value"] == codes.SCT.RightAndLeft.value


def test_a_term_without_a_code_has_none() -> None:
    grounding = make_grounding()
    assert grounding.query.finding is not None
    query = replace(grounding.query, finding=replace(grounding.query.finding, code=None))
    finding = report(grounding.scan, [replace(grounding, query=query)], {})["answers"][0]["finding"]
    assert finding == {"id": "nodule", "name": "nodule", "code": None}


def test_order_is_that_of_the_questions() -> None:
    scan = make_scan()
    texts = ["right lung", "nodule", "left lung", "right lung"]
    content = report(scan, [make_grounding(scan, text) for text in texts], {})
    assert [answer["query"] for answer in content["answers"]] == texts


def test_what_was_not_measured_is_null() -> None:
    grounding = make_grounding()
    instance = replace(grounding.instances[0], mean_hu=NAN, score=NAN, centroid_lps=(1.0, NAN, 2.0))
    grounding = replace(grounding, instances=(instance,), peak_lps=(NAN, NAN, NAN))
    content = report(
        grounding.scan, [grounding], {"loss": math.inf, "shape": np.array([1, 2]), "scale": np.float32(NAN)}
    )
    assert errors(content) == []
    (answer,) = content["answers"]
    assert answer["peak_lps"] is None
    assert answer["instances"][0]["centroid_lps"] is None
    assert answer["instances"][0]["mean_hu"] is None
    assert answer["instances"][0]["score"] is None
    assert content["model"]["loss"] is None
    assert content["model"]["scale"] is None
    assert content["model"]["shape"] == [1, 2]
    assert content["model"]["name"] == grounding.model


def test_file_is_the_report(tmp_path: Path) -> None:
    grounding = make_grounding(text="nodule in the left œdème lung")
    path = write_report(grounding.scan, [grounding], {"name": "m", "path": Path("a")}, tmp_path / "report.json")
    text = path.read_text("utf-8")
    assert "NaN" not in text
    assert json.loads(text) == report(grounding.scan, [grounding], {"name": "m", "path": "a"})
    assert os.listdir(tmp_path) == ["report.json"]


def test_failed_write_leaves_the_earlier_report(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    (tmp_path / "report.json" / "earlier").write_text("earlier")
    grounding = make_grounding()
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(grounding.scan, [grounding], {}, tmp_path / "report.json")
    assert os.listdir(tmp_path) == ["report.json"]


def test_no_patient_identity(content: dict[str, Any]) -> None:
    assert set(content["scan"]) == {
        *("format", "modality", "unit", "shape_kji", "spacing_mm_kji", "lps_from_kji", "orientation"),
        *("study_uid", "series_uid", "frame_of_reference_uid", "sop_class_uid", "notes"),
    }


def test_scan_without_dicom() -> None:
    scan = make_scan()
    scan = replace(scan, provenance=Provenance("nifti", notes=("The file does not say its unit.",)))
    grounding = make_grounding(scan)
    content = report(scan, [grounding], {})
    assert errors(content) == []
    assert content["scan"]["study_uid"] is None
    assert content["answers"][0]["instances"][0]["instance_uids"] == []


def test_a_query_that_got_no_answer_stands_where_it_was_asked_with_the_reason() -> None:
    grounding = make_grounding()
    declined = [
        Declined(2, "splenic cleft", QueryError("names nothing known", code="unknown")),
        Declined(0, "zorp", QueryError("is not understood", code="not-understood")),
    ]
    content = report(grounding.scan, [grounding], {}, declined=declined)
    assert errors(content) == []
    first, answer, last = content["answers"]
    assert answer["query"] == grounding.query.text
    assert first == {"query": "zorp", "declined": {"code": "not-understood", "reason": str(declined[1].error)}}
    assert last["declined"] == {"code": "unknown", "reason": str(declined[0].error)}
    assert "names nothing known" in last["declined"]["reason"]
