"""Which DICOM objects are volumes to read, and what to call the others (SOP Class UIDs, PS3.4 B.5)."""

from __future__ import annotations

from pydicom.uid import UID

CLASSIC_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}
"""One slice a file; the modality it stands for."""

MULTIFRAME_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
    "1.2.840.10008.5.1.4.1.1.128.1": "PT",
}
"""Enhanced and legacy-converted enhanced objects: many frames a file."""

IMAGE_CLASSES = {**CLASSIC_CLASSES, **MULTIFRAME_CLASSES}

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_RADIOTHERAPY = "1.2.840.10008.5.1.4.1.1.481"


def class_name(sop_class_uid: str) -> str:
    """The object's name in words, or its UID where the standard's list does not have it."""
    name = UID(sop_class_uid).name if sop_class_uid else "no SOP class"
    return name.removesuffix(" Storage")


def refusal_code(sop_class_uid: str) -> str:
    """The stable code under which an object that is no volume is refused."""
    if sop_class_uid.startswith(_SECONDARY_CAPTURE):
        return "secondary-capture"
    if sop_class_uid.startswith(_RADIOTHERAPY):
        return "radiotherapy-object"
    return "not-a-volume"
