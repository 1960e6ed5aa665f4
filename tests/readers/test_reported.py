"""Inputs that people reported of other software: part of a series taken for all of it, or one series for many."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.readers.awkward.writing import ROOT, make_series, put_stored, stored_of, write_series
from tips_med.errors import ReadError
from tips_med.readers import read_scan


def refusal(path: Path) -> ReadError:
    with pytest.raises(ReadError) as caught:
        read_scan(path)
    assert caught.value.remedy, "it says what to do"
    assert len(str(caught.value)) < 800
    return caught.value


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "ConvolutionKernel"])
def test_what_differs_from_slice_to_slice_tells_no_volumes_apart(tmp_path: Path, keyword: str) -> None:
    slices = make_series()
    for number, one in enumerate(slices):
        one.set(**{keyword: f"{ROOT}.900.{number}" if keyword == "FrameOfReferenceUID" else f"B{number}"})
    scan = read_scan(write_series(tmp_path, slices))
    assert scan.shape[0] == len(slices)
    assert any("taken for one volume by their positions" in note for note in scan.provenance.notes)
    if keyword == "FrameOfReferenceUID":
        assert scan.provenance.frame_of_reference_uid is None, "a result must not claim a frame that the source lacks"


def test_two_frames_of_reference_are_still_two_volumes(tmp_path: Path) -> None:
    slices = make_series()
    for number, one in enumerate(slices):
        one.set(FrameOfReferenceUID=f"{ROOT}.900.{number % 2}")
    assert refusal(write_series(tmp_path, slices)).code == "several-phases"


def test_a_single_frame_class_that_claims_many_frames_is_refused(tmp_path: Path) -> None:
    slices = make_series()
    slices[0].set(NumberOfFrames=20)
    assert "Number of Frames is 20" in str(refusal(write_series(tmp_path, slices)))


@pytest.mark.parametrize(
    ("elements", "code"),
    [({"StudyInstanceUID": f"{ROOT}.101"}, "several-studies"), ({"PatientID": "another"}, "several-patients")],
)
def test_a_series_uid_that_two_studies_or_patients_share_is_refused(tmp_path: Path, elements, code) -> None:
    slices = make_series()
    for one in slices:
        one.set(PatientID="one")
    for one in slices[len(slices) // 2 :]:
        one.set(**elements)
    error = refusal(write_series(tmp_path, slices))
    assert error.code == code
    assert "another" not in str(error), "no identity in a message"


def test_a_report_in_the_images_own_series_is_left_out_and_told(tmp_path: Path) -> None:
    slices = make_series()
    report = make_series()[0].set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID=f"{ROOT}.99")
    scan = read_scan(write_series(tmp_path, [*slices, report]))
    assert scan.shape[0] == len(slices)
    assert any("in the series itself left out" in note for note in scan.provenance.notes)


def test_links_are_followed_and_those_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    real = write_series(tmp_path / "real", make_series())
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "ct").symlink_to(real)
    (tmp_path / "study" / "ct-again").symlink_to(tmp_path / "study")  # a circle
    whole = read_scan(tmp_path / "study")
    assert whole.shape == read_scan(real).shape
    last = sorted(real.iterdir())[-1]
    last.unlink()
    last.symlink_to(tmp_path / "gone")
    assert any("1 link(s) lead nowhere" in note for note in read_scan(tmp_path / "study").provenance.notes)


def test_positions_rounded_to_a_tenth_are_even(tmp_path: Path) -> None:
    slices = make_series()
    for number, one in enumerate(slices):
        x, y, _ = one.dataset.ImagePositionPatient
        one.set(ImagePositionPatient=[x, y, f"{0.625 * number:.1f}"])
    scan = read_scan(write_series(tmp_path, slices))
    assert scan.spacing_mm[0] == pytest.approx(0.625, abs=0.02)
    assert any("rounded" in note for note in scan.provenance.notes)


def test_a_unit_that_some_slices_leave_out_is_that_of_the_others(tmp_path: Path) -> None:
    slices = make_series()
    for one in slices[::2]:
        one.set(RescaleType=None)
    assert read_scan(write_series(tmp_path, slices)).unit == "HU"


def test_numbers_in_a_vr_of_text_are_numbers(tmp_path: Path) -> None:
    path = write_series(tmp_path, make_series())
    spacing = read_scan(path).spacing_mm
    for file in path.iterdir():
        raw = file.read_bytes()
        at = raw.index(b"\x28\x00\x30\x00DS")
        length = int.from_bytes(raw[at + 6 : at + 8], "little")
        value = raw[at + 8 : at + 8 + length]
        file.write_bytes(raw[: at + 4] + b"UT\0\0" + length.to_bytes(4, "little") + value + raw[at + 8 + length :])
    assert read_scan(path).spacing_mm == pytest.approx(spacing)


def test_a_negative_padding_value_stored_without_a_sign_is_not_measured(tmp_path: Path) -> None:
    slices = make_series(bits=16)
    for one in slices:
        stored = stored_of(one)
        stored[:2, :2] = 63_536
        put_stored(one, stored)
    scan = read_scan(write_series(tmp_path, slices))
    assert np.isnan(scan.voxels[:, :2, :2]).all()
    assert np.nanmax(scan.voxels) < 30_000
    assert any("without a sign" in note for note in scan.provenance.notes)


HU = np.arange(24, dtype="<i2").reshape(2, 3, 4)
NRRD = """NRRD0005
type: short
dimension: 3
space: left-posterior-superior
sizes: 4 3 2
space directions: (5,0,0) (0,5,0) (0,0,5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (-10,-20,-30)
"""


def nrrd(folder: Path, old: str = "", new: str = "", more: str = "") -> Path:
    file = folder / "ct.nrrd"
    file.write_bytes((NRRD.replace(old, new) + more).encode() + b"\n" + HU.tobytes())
    return file


def test_an_nrrd_whose_space_names_no_side_of_the_patient_is_refused(tmp_path: Path) -> None:
    for space in ("scanner-xyz", "3D-right-handed", "left-handed-xyz"):
        assert refusal(nrrd(tmp_path, "left-posterior-superior", space)).code == "no-orientation"
    for space, x in (("LPS", -10), ("RAS", 10), ("right-anterior-superior", 10), ("LAS", -10)):
        assert read_scan(nrrd(tmp_path, "left-posterior-superior", space)).lps_from_kji[0, 3] == pytest.approx(x)


def test_an_nrrd_in_centimetres_is_converted_and_an_unknown_unit_refused(tmp_path: Path) -> None:
    scan = read_scan(nrrd(tmp_path, more='space units: "cm" "cm" "cm"\n'))
    assert scan.spacing_mm == pytest.approx((50, 50, 50))
    assert scan.lps_from_kji[2, 3] == pytest.approx(-300)
    assert scan.provenance.notes
    assert refusal(nrrd(tmp_path, more='space units: "ell" "ell" "ell"\n')).code == "bad-affine"


def test_an_nrrd_says_what_it_leaves_open_and_somebodys_own_keys_are_no_fields(tmp_path: Path) -> None:
    scan = read_scan(nrrd(tmp_path, "space origin: (-10,-20,-30)\n"))
    assert any("no space origin" in note for note in scan.provenance.notes)
    np.testing.assert_array_equal(read_scan(nrrd(tmp_path, more="DataFile:=original.dcm\n")).voxels, HU)
    assert refusal(nrrd(tmp_path, more="data file: other.raw\n")).code == "detached-data"


def nifti(folder: Path, scale: float, unit: int) -> Path:
    affine = np.diag([-5.0 * scale, -5.0 * scale, 5.0 * scale, 1.0])
    image = nib.Nifti1Image(HU.transpose(2, 1, 0), affine)
    image.header["xyzt_units"] = unit
    nib.save(image, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def test_lengths_that_no_patient_has_are_told(tmp_path: Path) -> None:
    tiny = read_scan(nifti(tmp_path, 0.001, 0))
    assert any("too small for a patient" in note for note in tiny.provenance.notes)
    assert read_scan(nifti(tmp_path, 0.001, 1)).spacing_mm == pytest.approx((5, 5, 5)), "metres that say so"
    slip = read_scan(nifti(tmp_path, 1.0, 1))
    assert slip.spacing_mm == pytest.approx((5, 5, 5))
    assert any("taken as mm" in note for note in slip.provenance.notes)


def test_a_name_that_says_something_else_of_the_compression_is_told_how_to_be_mended(tmp_path: Path) -> None:
    packed = nifti(tmp_path, 1.0, 2)
    plain = tmp_path / "plain.nii"
    nib.save(nib.load(packed), plain)
    plain.rename(tmp_path / "plain.nii.gz")
    assert "rename it to .nii" in str(refusal(tmp_path / "plain.nii.gz")).lower()
    packed.rename(tmp_path / "packed.nii")
    assert "rename it to .nii.gz" in str(refusal(tmp_path / "packed.nii")).lower()


def test_a_header_that_claims_gigabytes_before_its_voxels_is_refused_without_unpacking_them(tmp_path: Path) -> None:
    packed = nifti(tmp_path, 1.0, 2)
    raw = bytearray(gzip.decompress(packed.read_bytes()))
    raw[108:112] = np.array([4e9], "<f4").tobytes()  # vox_offset
    packed.write_bytes(gzip.compress(bytes(raw) + bytes(8 << 20)))
    assert refusal(packed).code == "too-large"
