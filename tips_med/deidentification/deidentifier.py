"""Takes a patient's identity out of headers, scans and results."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from tips_med.deidentification.profile import profile, put_dummy
from tips_med.notes import Note, without_identity
from tips_med.scan import Scan
from tips_med.secret import secret_key

_METHOD = "PS3.15 2024b basic profile, by tips_med with dicom-anonymizer"  # LO: 64 characters
_STANDARD_ROOT = "1.2.840.10008."
_OVERLAYS, _CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)
_TIMES = ("DA", "TM", "DT")
_NOTE = Note("De-identified: UIDs are not those of the source.", code="deidentified")


class Deidentifier:
    """Applies the basic application level confidentiality profile (PS3.15 Annex E).

    UIDs and the patient's ID are mapped by a keyed hash, so that the same key gives the same result in any process:
    what is made today refers to the copy of the study that was made yesterday. Without the key the way back is closed,
    also for who knows the original UIDs.

    Args:
        key: Secret of the keyed hash; a fresh one when None, so that earlier results do not refer to the new ones.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        profile()  # a missing extra is reported now

    @classmethod
    def from_file(cls, path: Path | None) -> Deidentifier:
        """A de-identifier with the key in a file, which is made if missing; with a fresh key when None.

        Raises:
            ConfigError: The file holds no key, or the ``pacs`` extra is not installed.
            OutputError: The file cannot be made.
        """
        return cls(None if path is None else secret_key(path))

    def uid(self, uid: str) -> str:
        """The UID that stands for another; those that the standard defines stay, and so does the empty one."""
        if not uid or uid.startswith(_STANDARD_ROOT):
            return uid
        return f"2.25.{UUID(bytes=self._hash('uid', uid)[:16], version=4).int}"  # PS3.5 B.2

    def patient(self, patient_id: str) -> str:
        """The pseudonym that stands for a Patient ID; a study without one has none."""
        return "ANON" + self._hash("patient", patient_id)[:6].hex().upper() if patient_id else ""

    def scan(self, scan: Scan) -> Scan:
        """The same scan with mapped UIDs, also in its notes, which lose dates and texts.

        A scan that is already de-identified stays as it is.
        """
        source = scan.provenance
        if source.deidentified:
            return scan
        mapped = replace(
            source,
            study_uid=self._known(source.study_uid),
            series_uid=self._known(source.series_uid),
            frame_of_reference_uid=self._known(source.frame_of_reference_uid),
            instance_uids=tuple(self.uid(uid) for uid in source.instance_uids),
            notes=tuple(without_identity(note, self.uid) for note in source.notes),
            deidentified=True,
            study_year=None,
        )
        return replace(scan, provenance=mapped.noting(_NOTE))

    def header(self, dataset: Dataset) -> None:
        """De-identifies an image's data set in place, nested items, file meta information and preamble included."""
        patient = self.patient(str(dataset.get("PatientID", "") or ""))
        self._apply(dataset)
        _add_method_attributes(dataset)
        dataset.PatientName = dataset.PatientID = patient
        old: Any = getattr(dataset, "file_meta", None)
        if old is not None:
            meta = FileMetaDataset()
            for keyword in ("MediaStorageSOPClassUID", "TransferSyntaxUID"):
                if keyword in old:
                    setattr(meta, keyword, getattr(old, keyword))
            meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.file_meta = meta
        if hasattr(dataset, "preamble"):
            dataset.preamble = bytes(128)

    def result(self, dataset: Dataset) -> None:
        """Finishes a result that was made from a de-identified header: its own dates reveal when the scan was made."""
        self._apply(dataset, only_times=True)
        _add_method_attributes(dataset)

    def _apply(self, dataset: Dataset, *, only_times: bool = False) -> None:
        action_of = profile()
        for tag in list(dataset.keys()):
            if not only_times and _is_unclear(tag):
                del dataset[tag]
                continue
            element = dataset[tag]
            concerned = not only_times or element.VR in _TIMES
            action = action_of(tag.group, tag.element) if concerned else None
            if action == "remove" or (action == "replace" and element.VR == "SQ"):
                del dataset[tag]
            elif action == "empty":
                element.value = [] if element.VR == "SQ" else None
            elif element.VR == "SQ":
                for item in element.value:
                    self._apply(item, only_times=only_times)
            elif element.VR == "UI" and action is not None:
                self._map(element)
            elif action is not None and not put_dummy(element):
                del dataset[tag]

    def _map(self, element: DataElement) -> None:
        if isinstance(element.value, MultiValue):
            element.value = [self.uid(str(uid)) for uid in element.value]
        elif element.value:
            element.value = self.uid(str(element.value))

    def _known(self, uid: str | None) -> str | None:
        return None if uid is None else self.uid(uid)

    def _hash(self, kind: str, text: str) -> bytes:
        return hmac.new(self._key, f"{kind}:{text}".encode(), hashlib.sha256).digest()


def _is_unclear(tag: BaseTag) -> bool:
    """Private, unknown to the standard, or drawn over the image: its content is unknown."""
    return tag.is_private or tag.group in _OVERLAYS or tag.group in _CURVES or not dictionary_has_tag(tag)


def _add_method_attributes(dataset: Dataset) -> None:
    """Records the method of de-identification (PS3.15 E.1.1, PS3.3 C.7.1.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
