"""Answers over HTTP are those of ``ground``, file by file."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.phantom import body, rule_model
from tests.server.running import Running, running, write_scan, zipped_series
from tests.tiny import tiny_model, with_adapter
from tips_med.encoders.base import ImageFeatures, Progress
from tips_med.encoders.study import EncodedStudy
from tips_med.exporters.folder import default_exporters, write_answers
from tips_med.exporters.report import schema
from tips_med.grounding import encode, ground
from tips_med.readers import read_scan
from tips_med.slabs import SlabStack

QUERY = "mass in the left lung or pleural effusion"


def _ask(server: Running, study: str, query: str = QUERY, **more: Any) -> dict[str, Any]:
    given = server.http.post(f"/v1/studies/{study}/answers", json={"query": query, **more})
    assert given.status_code == 200, given.text
    return given.json()


def _volume(server: Running, url: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    path = folder / "volume.nii.gz"
    path.write_bytes(server.http.get(url).content)
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def test_an_answer_is_that_of_ground(server: Running, scan_path: Path, tmp_path: Path) -> None:
    study = server.ready(scan_path)
    report = _ask(server, study)
    jsonschema.validate(report, schema())
    entry, other = report["answers"]
    encoded = encode(read_scan(scan_path), rule_model())
    direct = ground(encoded, "mass in the left lung", rule_model())
    write_answers([direct], tmp_path / "direct", {}, exporters=default_exporters())
    folder = next(one for one in (tmp_path / "direct").iterdir() if one.is_dir())
    for name in ("mask.nii.gz", "heat.nii.gz", "figure.png"):
        assert server.http.get(f"{entry['urls']['self']}/{name}").content == (folder / name).read_bytes()
    assert entry["sentence"] == direct.sentence and entry["presence"] == "present"
    assert other["query"] == "pleural effusion" and other["id"] != entry["id"]
    for word in entry["urls"]["words"]:
        heat, _ = _volume(server, word["url"], tmp_path)
        np.testing.assert_array_equal(heat.T, direct.token_heat[word["word"]])
    hidden, _ = _volume(server, entry["urls"]["not-assessed"], tmp_path)
    np.testing.assert_array_equal(hidden.T > 0, np.isnan(direct.heat))
    assert entry["urls"]["seg"] is None  # the scan is no DICOM


def test_the_scan_for_viewers_has_its_place(server: Running, scan_path: Path, tmp_path: Path) -> None:
    study = server.ready(scan_path)
    voxels, affine = _volume(server, f"/v1/studies/{study}/scan.nii.gz", tmp_path)
    expected = nib.load(scan_path)
    np.testing.assert_array_equal(voxels, np.asanyarray(expected.dataobj))
    np.testing.assert_allclose(affine, expected.affine)
    part = server.http.get(f"/v1/studies/{study}/scan.nii.gz", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and len(part.content) == 100


def test_a_threshold_changes_the_mask_and_not_the_decision(server: Running, scan_path: Path, tmp_path: Path) -> None:
    study = server.ready(scan_path)
    masks, entries = [], []
    for threshold in (0.1, 0.9):
        (entry,) = _ask(server, study, "mass left lung", threshold=threshold)["answers"]
        entries.append(entry)
        masks.append(_volume(server, entry["urls"]["mask"], tmp_path)[0] > 0)
    assert masks[0].sum() > masks[1].sum() > 0
    assert entries[0]["probability"] == entries[1]["probability"] and entries[0]["id"] != entries[1]["id"]


def test_the_archive_holds_what_the_command_writes(server: Running, scan_path: Path) -> None:
    study = server.ready(scan_path)
    ids = [one["id"] for one in _ask(server, study)["answers"]]
    got = server.http.get(f"/v1/studies/{study}/archive.zip", params={"answers": ",".join(ids)})
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        listed = json.loads(archive.read("report.json"))
        assert {"report.json", *(file for one in listed["answers"] for file in one["files"])} == set(archive.namelist())


def test_a_query_that_cannot_be_answered_is_declined_with_its_reason(server: Running, scan_path: Path) -> None:
    study = server.ready(scan_path)
    answered, declined = _ask(server, study, "mass or fracture")["answers"]
    assert answered["id"] and declined["declined"]["code"] == "not-trained"
    refused = server.http.post(f"/v1/studies/{study}/answers", json={"query": "fracture"})
    assert refused.status_code == 422 and refused.json()["code"] == "not-trained"
    for bad in (
        {"query": ""},
        {"query": "mass", "threshold": 7},
        {"query": "x" * 301},
        {},
        {"query": "mass", "to": "x"},
    ):
        refused = server.http.post(f"/v1/studies/{study}/answers", json=bad)
        assert refused.status_code == 400 and refused.json()["code"] == "bad-request"
    assert server.http.get(f"/v1/studies/{study}/answers/{'0' * 20}").status_code == 404
    assert server.http.get(f"/v1/studies/{study}/answers/{answered['id']}/words/9.nii.gz").status_code == 404
    assert server.http.get(f"/v1/studies/{study}/answers/..%2f..%2fstudy.json").status_code == 404
    assert server.http.get(f"/v1/studies/{study}/archive.zip", params={"answers": "../x"}).status_code == 404


def test_many_ask_at_once_and_get_the_answers_of_one(server: Running, scan_path: Path) -> None:
    study = server.ready(scan_path)
    queries = ["mass left lung", "mass right lung", "ground glass", "pleural effusion", "mass", "left lung"] * 4
    alone = {query: _ask(server, study, query)["answers"] for query in dict.fromkeys(queries)}
    server.service.studies.shelf.drop(study)  # and it is read from disk again, once
    with ThreadPoolExecutor(len(queries)) as many:
        given = list(many.map(lambda query: _ask(server, study, query)["answers"], queries))
    assert given == [alone[query] for query in queries]


def test_an_adapter_is_made_for_the_first_of_many_questions_that_ask_it(
    tmp_path: Path, scan_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_adapter(tiny_model(tmp_path), tmp_path / "taught", ["liver"])
    passes: list[tuple[int, ...]] = []
    real = model.image.encode_several

    def counted(slabs: SlabStack, numbers: Sequence[int], progress: Progress | None = None) -> dict[int, ImageFeatures]:
        passes.append(tuple(numbers))
        return real(slabs, numbers, progress)

    monkeypatch.setattr(model.image, "encode_several", counted)
    with running(tmp_path / "server", model) as server:
        study = server.ready(scan_path)
        live = server.service.studies.live(study)
        _ask(server, study, "nodule")
        assert passes == [(0,)] and not live.study.taught
        size = live.size_bytes
        with ThreadPoolExecutor(3) as many:
            given = list(many.map(lambda query: _ask(server, study, query), ["liver", "the liver", "no liver"]))
        assert passes == [(0,), (1,)] and set(live.study.taught) == {1}
        assert live.size_bytes > size + live.study.taught[1].patches.nbytes
        assert len({answer["answers"][0]["score"] for answer in given}) == 1


def test_what_left_memory_is_answered_from_disk(tmp_path: Path, scan_path: Path) -> None:
    other = write_scan(body(), tmp_path / "other.nii.gz")
    with running(tmp_path / "server", memory_mb=1) as server:
        first = server.ready(scan_path)
        (entry,) = _ask(server, first, "mass left lung")["answers"]
        mask = server.http.get(entry["urls"]["mask"]).content
        second = server.ready(other)
        assert server.service.studies.shelf.ids() == (second,)
        assert server.http.get(entry["urls"]["mask"]).content == mask
        assert server.service.studies.shelf.ids() == (first,)


def test_dicom_results_refer_to_the_images_and_to_each_other(server: Running, tmp_path: Path) -> None:
    path = zipped_series(tmp_path)
    study = server.ready(path)
    (entry,) = _ask(server, study, "mass in the left lung")["answers"]
    seg = pydicom.dcmread(io.BytesIO(server.http.get(entry["urls"]["seg"]).content))
    sr = pydicom.dcmread(io.BytesIO(server.http.get(entry["urls"]["sr"]).content))
    assert seg.Modality == "SEG" and sr.Modality == "SR" and seg.SOPInstanceUID in sr.to_json()
    scan = read_scan(path)
    assert seg.FrameOfReferenceUID == scan.provenance.frame_of_reference_uid
    assert server.http.get(entry["urls"]["seg"]).content == server.http.get(entry["urls"]["seg"]).content
    # os.walk, for the server may remove a folder of its own meanwhile.
    kept = [name for _, folders, files in os.walk(server.service.settings.folder) for name in (*folders, *files)]
    assert kept and not any("DOE" in name for name in kept)


def test_an_encoded_study_that_was_registered_is_not_encoded_again(
    server: Running, scan_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encode(read_scan(scan_path), rule_model()).save(tmp_path / "study.safetensors")
    assert isinstance(EncodedStudy.load(made), EncodedStudy)
    monkeypatch.setattr("tips_med.server.studies.encode", lambda *_: pytest.fail("encoded again"))
    study = server.http.post("/v1/studies", json={"local": server.service.register(made)}).json()["id"]
    assert server.ended(study)["state"] == "ready"
    assert _ask(server, study, "mass left lung")["answers"][0]["presence"] == "present"
