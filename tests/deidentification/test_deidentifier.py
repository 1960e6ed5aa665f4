"""Nothing that names the patient is left in a header, at whatever depth, and what belongs together stays together."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.readers.awkward.multiframe_cases import ENHANCED_CT, merge
from tests.readers.awkward.writing import ROOT, make_series, write_file, write_series
from tips_med.deidentification import Deidentifier, copy_images
from tips_med.deidentification.profile import profile
from tips_med.errors import ConfigError, OutputError
from tips_med.readers import read_scan
from tips_med.scan import Provenance
from tips_med.secret import secret_key

MARKER = "ZZPLANTED"
TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
KEY = bytes(range(32))


def bytes_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def header() -> Dataset:
    made = make_series(slices=1)[0].dataset
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.SourceApplicationEntityTitle = MARKER
    return made


def listed_text() -> list[int]:
    """Every attribute of the profile that holds text."""
    return [tag for tag in pydicom.datadict.DicomDictionary if _is_listed_text(tag)]


def _is_listed_text(tag: int) -> bool:
    known = profile()(tag >> 16, tag & 0xFFFF) is not None and tag >> 16 != 2
    return known and dictionary_VR(tag) in TEXT


def test_every_listed_attribute_at_the_top_and_within_sequences_is_cleared() -> None:
    tags = listed_text()
    assert len(tags) > 250
    made, item, inner = header(), Dataset(), Dataset()
    for tag in tags:
        for where in (made, item, inner):
            where.add_new(tag, dictionary_VR(tag), MARKER)
    item.SharedFunctionalGroupsSequence = [inner]
    made.PerFrameFunctionalGroupsSequence = [item]
    made.preamble = MARKER.encode().ljust(128, b"\0")
    Deidentifier(KEY).header(made)
    assert MARKER.encode() not in bytes_of(made)
    assert "PerFrameFunctionalGroupsSequence" in made


def test_what_the_standard_does_not_know_is_removed() -> None:
    made = header()
    block = made.private_block(0x0009, MARKER, create=True)
    block.add_new(1, "LO", MARKER)
    made.add_new(0x00080002, "LO", MARKER)  # in no edition of the standard
    made.add_new(0x60000022, "LO", MARKER)  # describes an overlay
    made.RequestAttributesSequence = [Dataset()]
    Deidentifier(KEY).header(made)
    assert MARKER.encode() not in bytes_of(made)


def test_dates_go_and_what_was_done_is_said() -> None:
    made = header()
    made.StudyDate, made.AcquisitionDateTime, made.PatientBirthDate = "20240229", "20240229101112", "19500101"
    Deidentifier(KEY).header(made)
    assert not made.StudyDate and not made.PatientBirthDate
    assert b"20240229" not in bytes_of(made)
    assert (made.PatientIdentityRemoved, made.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_uids_and_patients_are_mapped_alike_with_the_same_key_only() -> None:
    one, same, other = Deidentifier(KEY), Deidentifier(KEY), Deidentifier()
    mapped = one.uid(f"{ROOT}.1")
    assert mapped == same.uid(f"{ROOT}.1") != other.uid(f"{ROOT}.1")
    assert pydicom.uid.UID(mapped).is_valid and mapped.startswith("2.25.")
    assert one.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert one.patient("P1") == same.patient("P1") != one.patient("P2")
    assert one.patient("") == ""


def test_references_follow_the_uids_they_refer_to() -> None:
    made, reference = header(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{ROOT}.77"
    made.ReferencedImageSequence = [reference]
    private = Deidentifier(KEY)
    private.header(made)
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == private.uid(f"{ROOT}.77")
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == private.uid(f"{ROOT}.1.1")


def test_a_scan_is_mapped_once(tmp_path: Path) -> None:
    scan, private = read_scan(write_series(tmp_path / "series", make_series())), Deidentifier(KEY)
    made = private.scan(scan)
    assert made.provenance.instance_uids == tuple(private.uid(uid) for uid in scan.provenance.instance_uids)
    assert private.scan(made) is made
    assert (made.voxels == scan.voxels).all()
    gap = replace(scan, provenance=replace(scan.provenance, instance_uids=("",) * scan.shape[0]))
    assert set(private.scan(gap).provenance.instance_uids) == {""}
    assert private.scan(replace(scan, provenance=Provenance("nifti"))).provenance.study_uid is None


@pytest.mark.parametrize("kind", ["single frames", "multi-frame"])
def test_the_copy_is_the_same_scan_of_nobody(tmp_path: Path, kind: str) -> None:
    slices, out = make_series(), tmp_path / "copy"
    for item in slices:
        item.set(PatientName=MARKER, PatientID=MARKER, SeriesDescription=MARKER, AcquisitionDate="20240229")
    if kind == "multi-frame":
        path = write_file(tmp_path / "multi.dcm", merge(slices, ENHANCED_CT))
    else:
        path = write_series(tmp_path / MARKER, slices)
    private = Deidentifier(KEY)
    copied = copy_images(path, out, private)
    assert (copied.images, copied.left_out) == (1 if kind == "multi-frame" else 12, 0)
    for file in out.iterdir():
        assert MARKER.encode() not in file.read_bytes() + file.name.encode()
    before, after = read_scan(path), read_scan(out)
    assert (before.voxels == after.voxels).all()
    assert (before.lps_from_kji == after.lps_from_kji).all()
    assert after.provenance.instance_uids == private.scan(before).provenance.instance_uids


def test_what_cannot_be_cleaned_is_not_copied(tmp_path: Path) -> None:
    slices = make_series(slices=4)
    slices[0].set(BurnedInAnnotation="YES")
    slices[1].set(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    slices[2].set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    path = write_series(tmp_path / "series", slices)
    (path / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    copied = copy_images(path, tmp_path / "copy", Deidentifier(KEY))
    assert (copied.images, copied.left_out) == (1, 4)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("none")
    with pytest.raises(OutputError, match="none of 1 files is an image") as refused:
        copy_images(tmp_path / "notes", tmp_path / "none", Deidentifier(KEY))
    assert refused.value.code == "nothing-to-copy"
    assert not (tmp_path / "none").exists()


def test_keys(tmp_path: Path) -> None:
    first = Deidentifier.from_file(tmp_path / "made" / "key")
    assert (tmp_path / "made" / "key").stat().st_mode & 0o777 == 0o600
    assert Deidentifier.from_file(tmp_path / "made" / "key").uid("1.2.3") == first.uid("1.2.3")
    (tmp_path / "words").write_text("no key")
    with pytest.raises(ConfigError, match="holds no key"):
        Deidentifier.from_file(tmp_path / "words")


def test_a_key_that_several_want_at_once_is_one_and_whole(tmp_path: Path) -> None:
    path, keys, start = tmp_path / "key", [], threading.Barrier(8)

    def make() -> None:
        start.wait()
        keys.append(secret_key(path))

    makers = [threading.Thread(target=make) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(keys) == 8 and len(set(keys)) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["key"]
    assert path.stat().st_mode & 0o777 == 0o600
