"""What a scan says of itself, what an error says, and what is not touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.readers.awkward.case import Written
from tests.readers.awkward.catalog import CASES
from tests.readers.awkward.writing import MR, PT, ROOT, make_series, put_stored, stored_of, write_file, write_series
from tips_med.errors import ReadError
from tips_med.exporters.nifti import write_volume
from tips_med.readers import inspect_path, pixels, read_scan


def _write(name: str, folder: Path) -> Written:
    return next(case for case in CASES if case.name == name).write(folder)


def test_uids_follow_the_voxels(tmp_path: Path) -> None:
    slices = make_series(orientation=(1, 0, 0, 0, -1, 0))
    scan = read_scan(write_series(tmp_path, slices[::-1]))
    assert scan.provenance.instance_uids == tuple(item.dataset.SOPInstanceUID for item in slices)
    assert scan.provenance.series_uid == f"{ROOT}.200.1"
    assert scan.provenance.study_uid == f"{ROOT}.100"
    assert scan.provenance.frame_of_reference_uid == f"{ROOT}.300"
    np.testing.assert_allclose(scan.voxels[3], slices[3].values)


def test_frame_numbers_follow_the_voxels(tmp_path: Path) -> None:
    scan = read_scan(_write("enhanced CT, frames out of order", tmp_path).path)
    assert scan.provenance.frame_numbers[:3] == (12, 1, 11)
    assert set(scan.provenance.instance_uids) == {f"{ROOT}.77.1"}


@pytest.mark.parametrize(
    ("sop_class", "modality", "elements", "unit"),
    [
        (MR, "MR", {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}, ""),
        (PT, "PT", {"Units": "BQML", "RescaleType": None}, "BQML"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT", {"RescaleType": None}, "HU"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT", {"RescaleType": "Z_EFF"}, "Z_EFF"),
    ],
)
def test_modality_and_unit(tmp_path: Path, sop_class: str, modality: str, elements: dict, unit: str) -> None:
    slices = [item.set(**elements) for item in make_series(sop_class=sop_class, modality=modality)]
    scan = read_scan(write_series(tmp_path, slices))
    assert (scan.modality, scan.unit) == (modality, unit)


def test_a_plain_series_needs_no_note_and_has_no_nan(tmp_path: Path) -> None:
    scan = read_scan(write_series(tmp_path, make_series()))
    assert scan.provenance.notes == ()
    assert np.isfinite(scan.voxels).all()
    assert scan.orientation == "SPL"


def test_feet_first_signed_padding_of_ge(tmp_path: Path) -> None:
    """As GE LightSpeed writes: FFS, slices from head to feet, padding -2000 written as unsigned 63536."""
    slices = make_series(signed=True, bits=16)
    for n, item in enumerate(slices):
        stored = stored_of(item)
        stored[:2] = -2000
        put_stored(item, stored)
        item.set(PatientPosition="FFS", InstanceNumber=len(slices) - n)
        item.dataset.add_new(0x00280120, "US", 63536)
    scan = read_scan(write_series(tmp_path, slices))
    assert np.isnan(scan.voxels[:, :2]).all()
    np.testing.assert_allclose(scan.voxels[5, 2:], slices[5].values[2:])
    assert scan.lps_from_kji[2, 0] > 0


def test_missing_codec_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _write("JPEG-LS", tmp_path)
    monkeypatch.setitem(pixels._PLUGINS, "pyjpegls", "not installed")
    with pytest.raises(ReadError, match="pip install pyjpegls") as caught:
        read_scan(written.path)
    assert caught.value.code == "codec-missing"


def test_errors_say_what_to_do_and_name_no_patient(tmp_path: Path) -> None:
    for name in ("missing slice", "gantry tilt", "two series", "4-D: cardiac phases"):
        folder = tmp_path / name[:3]
        folder.mkdir()
        with pytest.raises(ReadError) as caught:
            read_scan(_write(name, folder).path)
        assert "--" in str(caught.value)
        assert "Phantom" not in str(caught.value)


def test_errors_of_an_archive_name_its_member(tmp_path: Path) -> None:
    import zipfile

    folder = write_series(tmp_path / "in", make_series())
    cut = folder / "IM0004.dcm"
    cut.write_bytes(cut.read_bytes()[:-300])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"s/{path.name}")
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path / "x.zip")
    assert caught.value.path == tmp_path / "x.zip"
    assert "s/IM0004.dcm" in str(caught.value)
    assert "tips-med-" not in json.dumps(inspect_path(tmp_path / "x.zip").to_dict())


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda f: f / "nowhere", "not-found"),
        (lambda f: f / "a\0b", "not-found"),
        (lambda f: f, "empty-folder"),
        (lambda f: [f / "x.txt", (f / "x.txt").write_text("hello")][0], "not-a-scan"),
        (lambda f: [f / "x.nii", (f / "x.nii").write_text("hello")][0], "damaged-file"),
        (lambda f: [f / "x.zip", (f / "x.zip").write_bytes(b"PK\x03\x04")][0], "not-a-scan"),
    ],
)
def test_paths_that_are_no_scan(tmp_path: Path, make, code: str) -> None:
    with pytest.raises(ReadError) as caught:
        read_scan(make(tmp_path))
    assert caught.value.code == code


@pytest.mark.parametrize("damage", ["cut", "values", "checksum"])
def test_a_compressed_file_that_is_damaged_anywhere_is_refused(tmp_path: Path, damage: str) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 400, (12, 30, 32)).astype(np.int16)
    path = write_volume(voxels, np.diag([1.0, 1.0, 2.0, 1.0])[:, [2, 1, 0, 3]], tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-400:]
    else:
        content[-6 if damage == "checksum" else len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReadError, match="cut short or damaged") as caught:
        read_scan(path)
    assert caught.value.code == "truncated-file"


def test_unknown_choices_are_named(tmp_path: Path) -> None:
    write_series(tmp_path, make_series())
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path, series="1.2.3")
    assert caught.value.code == "no-such-series"
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path, phase=2)
    assert caught.value.code == "no-such-phase"


def test_a_series_chosen_by_uid_is_read_beside_a_damaged_file(tmp_path: Path) -> None:
    write_series(tmp_path, make_series())
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "damaged-file"
    assert read_scan(tmp_path, series=f"{ROOT}.200.1").shape == (12, 24, 20)


def test_inspection_lists_everything_and_is_json(tmp_path: Path) -> None:
    _write("localizer beside the series", tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path)
    write_series(tmp_path / "b", make_series(series=2, slices=8)[:3] + make_series(series=2, slices=8)[4:])
    found = inspect_path(tmp_path)
    plain = json.loads(json.dumps(found.to_dict()))
    by_uid = {entry["uid"]: entry for entry in plain["series"]}
    assert by_uid[f"{ROOT}.200.5"]["kind"] == "localizer"
    assert by_uid[f"{ROOT}.200.1"]["readable"] is True
    gap = by_uid[f"{ROOT}.200.2"]["volumes"][0]
    assert [problem["code"] for problem in gap["problems"]] == ["missing-slice"]
    assert gap["shape"] == [8, 24, 20]
    assert plain["would_read"] is None
    assert "--series" in plain["reason"]
    assert "Phantom" not in json.dumps(plain)
    assert len(found.rows()) == 3


def test_inspection_names_the_volumes_of_a_series(tmp_path: Path) -> None:
    found = inspect_path(_write("4-D: time points by identifier", tmp_path).path)
    assert [volume.phase for volume in found.series[0].volumes] == [1, 2, 3]
    assert "TemporalPositionIdentifier 2" in found.rows()[1]["phase"]
    assert found.would_read is None


def test_the_given_folder_is_left_as_it_was(tmp_path: Path) -> None:
    write_file(tmp_path / "x" / "1.dcm", make_series(slices=1)[0].dataset)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_scan(tmp_path)
    inspect_path(tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG-LS", "JPEG 2000"])
def test_a_compressed_frame_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    """Some decoders fill the rest with made-up pixels."""
    import pydicom
    from pydicom.encaps import encapsulate, get_frame

    path = sorted(_write(name, tmp_path).path.iterdir())[1]
    dataset = pydicom.dcmread(path)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([stream[: len(stream) * 2 // 3 // 2 * 2]])
    dataset.save_as(path)
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "damaged-pixels"


def test_a_jpeg_without_huffman_tables_is_refused(tmp_path: Path) -> None:
    """GDCM ends the process on it."""
    path = sorted(_write("JPEG lossless", tmp_path).path.iterdir())[1]
    data = path.read_bytes()
    assert b"\xff\xc4" in data
    path.write_bytes(data.replace(b"\xff\xc4", b"\xff\xe4", 1))
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "damaged-pixels"
