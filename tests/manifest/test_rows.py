from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest

from tips_med.manifest import ManifestError, Row, read_manifest, write_manifest

ROWS = [
    ("scan one/ct.nii.gz", "mass, left lung", "mask.nii.gz", "2", "present", "p1", "train"),
    ("b", "no pleural effusion", None, None, None, None, "val"),
]


def rows(folder):
    return [
        Row(folder / scan, phrase, folder / mask if mask else None, part, label, patient, split)
        for scan, phrase, mask, part, label, patient, split in ROWS
    ]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_weak_signals_are_read_back(tmp_path, name):
    row = Row(
        tmp_path / "a", "lesion in the liver", label="present", state="present", series=4, images=(87, 88), size_mm=9.5,
        count=2, source="1:2-3", region=tmp_path / "organs.nii.gz", region_part="5",
        ignore=tmp_path / "cut.nii.gz", ignore_part="1",
    )  # fmt: skip
    path = write_manifest([row], tmp_path / name)
    (read,) = read_manifest(path)
    assert vars(read) | {"line": 0} == vars(row)
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_what_is_written_is_read_back(tmp_path, name):
    path = write_manifest(rows(tmp_path), tmp_path / name)
    read = read_manifest(path)
    assert [vars(r) | {"line": 0} for r in read] == [vars(r) for r in rows(tmp_path)]
    assert str(tmp_path) not in path.read_text()
    assert [r.phrase for r in read_manifest(path, "val")] == ["no pleural effusion"]


def test_jsonl_follows_the_published_schema(tmp_path):
    schema = json.loads(files("tips_med.manifest").joinpath("manifest.schema.json").read_text())
    path = write_manifest(rows(tmp_path), tmp_path / "m.jsonl")
    for line in path.read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"scan": "a", "phrase": "b", "colour": "c"}, schema)


def test_a_label_follows_from_the_row_when_it_is_left_out(tmp_path):
    dense, weak = rows(tmp_path)
    assert dense.resolved(negated=False) == "present"
    assert weak.resolved(negated=True) == "absent"
    assert Row(tmp_path, "mass", label="unknown").resolved(negated=False) == "unknown"
    assert Row(tmp_path, "no mass", mask=tmp_path / "mask.nii.gz").resolved(negated=True) == "absent"


def test_a_file_of_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "m.csv").write_bytes("\ufeffscan,phrase\r\na,mass\r\n".encode())
    assert read_manifest(tmp_path / "m.csv")[0].line == 2


@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_of_spreadsheets_are_read(tmp_path, name, delimiter):
    lines = ["scan phrase mask", 'a mass,_left_lung "b;\t.nii.gz"']
    text = "\n".join(line.replace(" ", delimiter).replace("_", " ") for line in lines)
    (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
    (row,) = read_manifest(tmp_path / name)
    assert (row.phrase, row.mask) == ("mass, left lung", tmp_path / "b;\t.nii.gz")


def test_a_file_without_a_header_is_told_what_to_begin_with(tmp_path):
    (tmp_path / "m.csv").write_text("one/ct.nii.gz,mass,mask.nii.gz\n")
    with pytest.raises(ManifestError, match=r"begins with 'one/ct.nii.gz,mass.*expected a first line.*scan,phrase"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("m.csv", "a,b\n", "no-header"),
        ("m.txt", "", "manifest-format"),
        ("m.csv", "scan,phrase\n", "manifest-empty"),
        ("m.csv", "scan,phrase,colour\na,b,c\n", "column"),
        ("m.csv", "scan,phrase\na,\n", "no-phrase"),
        ("m.csv", "scan,phrase\na,b,c\n", "manifest"),
        ("m.csv", "scan,phrase,label\na,b,maybe\n", "label"),
        ("m.jsonl", '{"scan": "a", "phrase": "b"\n', "manifest"),
        ("m.jsonl", '{"scan": "a", "phrase": 3}\n', "type"),
        ("m.jsonl", "[1]\n", "manifest"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, code):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / name)
    assert caught.value.code == code


def test_a_split_that_is_not_there_lists_those_that_are(tmp_path):
    path = write_manifest(rows(tmp_path), tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="train, val"):
        read_manifest(path, "test")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "nowhere.csv")
