"""A study of the phantom body in which the patient is named wherever a header can name one."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests.phantom import MASS, body
from tests.readers.awkward.writing import ROOT, make_series, store, write_file
from tips_med.scan import Scan

MARKER = "ZZPLANTED"
BIRTH, STUDY_DAY = "19330303", "20240229"
IDENTITY = (MARKER, BIRTH)
"""What no output may hold but the DICOM results that go to the patient's own study."""

ALL = (*IDENTITY, STUDY_DAY, ROOT)
"""What no de-identified output may hold: also neither dates nor UIDs."""

_TEXT = {
    "PatientName": f"{MARKER}^Paula=={MARKER}",
    "PatientID": MARKER + "ID",
    "OtherPatientNames": MARKER,
    "PatientAddress": f"{MARKER} Street 1",
    "PatientComments": MARKER,
    "AccessionNumber": MARKER + "ACC",
    "ReferringPhysicianName": f"{MARKER}^Rita",
    "OperatorsName": MARKER,
    "InstitutionName": f"{MARKER} Hospital",
    "StationName": MARKER,
    "StudyID": MARKER,
    "StudyDescription": f"chest of {MARKER}",
    "SeriesDescription": f"thin {MARKER}",
    "ProtocolName": MARKER,
    "ImageComments": f"{MARKER} was anxious",
    "RequestedProcedureDescription": MARKER,
}


def planted_slices(scan: Scan | None = None) -> list[Dataset]:
    """The phantom body with a mass in the left lung, as slices that name the patient everywhere."""
    scan = scan or body([((65.0, 10.0, -70.0), 15.0, MASS)])
    k, j, i = scan.shape
    slices = make_series(
        slices=k, rows=j, columns=i, spacing_mm=(2.0, 3.0), step_mm=3.0, centre=scan.voxels[0, 0, :3] * 0
    )
    for number, item in enumerate(slices):
        store(item, scan.voxels[number])
        item.set(**_TEXT, PatientBirthDate=BIRTH, StudyDate=STUDY_DAY, AcquisitionDateTime=STUDY_DAY + "101112")
        request = Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepDescription = MARKER, MARKER
        item.dataset.RequestAttributesSequence = [request]
        block = item.dataset.private_block(0x0029, f"{MARKER} VENDOR", create=True)
        block.add_new(0x01, "LO", MARKER)
        block.add_new(0x02, "OB", MARKER.encode() + b"\0")
    return [item.dataset for item in slices]


def planted_series(folder: Path, slices: Iterable[Dataset] | None = None) -> Path:
    """Writes them; the name stands in the preamble too."""
    for number, dataset in enumerate(planted_slices() if slices is None else slices):
        path = write_file(folder / f"{number:03d}.dcm", dataset)
        raw = path.read_bytes()
        path.write_bytes(MARKER.encode().ljust(128, b"\0") + raw[128:])
    return folder


def found_in(folder: Path, words: Iterable[str] = IDENTITY) -> dict[str, set[str]]:
    """Words that files below a folder hold in their names or bytes, unpacked where they are packed."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content += gzip.decompress(content) if path.suffix == ".gz" else b""
            held = words_in(content + str(path.relative_to(folder)).encode(), words)
            if held:
                found[str(path.relative_to(folder))] = held
    return found


def words_in(content: bytes | str, words: Iterable[str] = IDENTITY) -> set[str]:
    """Those that some content holds, whatever their case."""
    content = content.encode() if isinstance(content, str) else content
    return {word for word in words if word.lower().encode() in content.lower()}


def uids_referred_to(dataset: Dataset) -> set[str]:
    """SOP Instance UIDs that an object refers to, at whatever depth."""
    found: set[str] = set()

    def look(_: Dataset, element: pydicom.DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID":
            found.add(str(element.value))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.walk(look)
    return found
