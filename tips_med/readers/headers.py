"""One DICOM file's header, as the frames it holds and where their pixels lie.

Nothing is judged here beyond "can this be parsed": a file of another series may be broken without harm. What a frame
lacks (a position, a spacing) is None, and what could not be parsed is listed in ``problems``; ``stacking`` decides.
Tags are those of PS3.6; geometry follows PS3.3 C.7.6.2 and, for multi-frame objects, C.7.6.16.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from tips_med.errors import ReadError
from tips_med.readers.bounded import BoundedFile
from tips_med.readers.elements import Elements
from tips_med.readers.layouts import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    PixelLayout,
    damaged,
    inflate,
    locate_pixels,
    looks_like_dicom,
    stated_syntax,
)
from tips_med.readers.objects import IMAGE_CLASSES, MULTIFRAME_CLASSES

MAX_HEADER_FRAMES = 100_000

_DATE = re.compile(r"((?:19|20)\d\d)\.?\d\d\.?\d\d")

SPLITTERS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "TriggerTime",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "InversionTime",
    "FlipAngle",
    "KVP",
    "FrameType",
    "ImageType",
    "SliceThickness",
    "AcquisitionNumber",
    "FrameReferenceDateTime",
    "FrameReferenceTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "SeriesTime",
)
"""Attributes that may distinguish volumes of one series, the most specific first."""

_NUMERIC_SPLITTERS = frozenset({*SPLITTERS[:12], "SliceThickness", "AcquisitionNumber", "FrameReferenceTime"})


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: its place in the patient and the rule from stored to real values.

    Attributes:
        layout: Layout of the file's pixels; None where it has none that can be read.
        number: Frame number from 1 in a multi-frame file; 0 for a classic single-frame file.
        position_mm: Image Position (Patient), the centre of the first pixel, LPS.
        orientation: Image Orientation (Patient): direction of a row (along i), then of a column (along j).
        pixel_spacing_mm: Pixel Spacing in mm: between rows, then between columns.
        slope: Rescale Slope; None when absent.
        intercept: Rescale Intercept; None when absent.
        rescale_type: Rescale Type, or for PET its Units.
        padding: Inclusive range of stored values that mean "not measured".
        stack: Values that frames of one volume share besides geometry (kernel, frame of reference, stack).
        splitters: Present values of ``SPLITTERS``.
        problems: Errors of parsing, in words.
    """

    layout: PixelLayout | None
    number: int
    sop_uid: str
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None
    localizer: bool
    stack: tuple[tuple[str, str], ...]
    splitters: dict[str, str | float]
    instance_number: float | None
    tilt_deg: float | None
    has_modality_lut: bool = False
    problems: tuple[str, ...] = ()

    @property
    def pixels(self) -> PixelLayout:
        """The file's pixels, where ``checks.check_frame`` found that it has some."""
        if self.layout is None:
            raise ReadError("has no pixels", code="no-pixels")
        return self.layout

    @property
    def path(self) -> Path | None:
        """The file the frame is in."""
        return self.layout.path if self.layout is not None else None


@dataclass(frozen=True, slots=True)
class Header:
    """One DICOM file.

    ``patient_key`` distinguishes patients without naming them: a hash of Patient ID and its issuer, empty without one.
    ``identity_removed`` is Patient Identity Removed (0012,0062): such a Patient ID may be a placeholder.
    ``study_year`` is all that results keep of the Study Date. ``acquired``, the day of the acquisition, or else of the
    study, is for the days between two scans, and is written nowhere; None where neither is stated.
    """

    path: Path
    sop_class_uid: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    modality: str
    patient_key: str
    description: str
    series_number: str
    frames: tuple[Frame, ...]
    problems: tuple[str, ...] = ()
    identity_removed: bool = False
    study_year: int | None = None
    acquired: date | None = None


def read_header(path: Path) -> Header | None:
    """Parses a file's header; None when the file is not DICOM at all.

    Raises:
        ReadError: ``damaged-file``: the file begins as DICOM but no series can be made out.
    """
    try:
        with BoundedFile(path) as stream:
            start = stream.read(4096)
            if not looks_like_dicom(start):
                return None
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _parse(path, stream, start)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"cannot be opened ({error.strerror or error})", path=path, code="unreadable-file") from error
    except Exception as error:  # pydicom raises whatever the damaged bytes lead it to
        raise damaged(path, f"its header cannot be parsed ({type(error).__name__})") from error


def _parse(path: Path, stream: io.BufferedIOBase, start: bytes) -> Header:
    if DEFLATED.encode() in start[:1024]:
        if stated_syntax(start) == DEFLATED:
            data, _ = inflate(path, stream)
            body: io.BufferedIOBase = io.BytesIO(data)
            dataset = read_dataset(body, False, True, stop_when=lambda tag, vr, length: tag.group == 0x7FE0)
            return _header(path, dataset, DEFLATED, body, len(data))
        stream.seek(0)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "") or "")
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = IMPLICIT if implicit else "1.2.840.10008.1.2.1" if little else BIG_ENDIAN
    tell = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(tell)
    return _header(path, dataset, syntax, stream, size)


def _header(path: Path, dataset: Dataset, syntax: str, stream: io.BufferedIOBase, size: int) -> Header:
    values = Elements([dataset])
    series_uid, sop_class = values.text("SeriesInstanceUID"), values.text("SOPClassUID")
    if sop_class == "1.2.840.10008.1.3.10" or Tag(0x00041220) in dataset:  # a DICOMDIR among the files
        return Header(path, "1.2.840.10008.1.3.10", "", "", "", "", "", "", "", ())
    if not series_uid or not sop_class:
        raise damaged(path, "it names no series or no SOP class")
    layout = locate_pixels(path, values, syntax, stream, size)
    if layout is not None and layout.frames > 1 and sop_class in IMAGE_CLASSES and sop_class not in MULTIFRAME_CLASSES:
        values.problems.append(
            f"Number of Frames is {layout.frames}, but this class of image (SOP class {sop_class}) holds one"
        )
    header_problems = tuple(values.problems)
    if sop_class in MULTIFRAME_CLASSES:
        frames = _multi_frames(dataset, values, layout)
    else:
        frames = (_frame(Elements([dataset], list(header_problems)), layout, 0, values.text("SOPInstanceUID")),)
    return Header(
        path=path,
        sop_class_uid=sop_class,
        study_uid=values.text("StudyInstanceUID"),
        series_uid=series_uid,
        frame_of_reference_uid=values.text("FrameOfReferenceUID"),
        modality=values.text("Modality").upper(),
        patient_key=_patient_key(values),
        description=_description(values),
        series_number=values.text("SeriesNumber"),
        frames=frames,
        problems=header_problems,
        identity_removed=values.text("PatientIdentityRemoved").upper() == "YES",
        study_year=_year(values.text("StudyDate")),
        acquired=_acquired(values),
    )


def _year(text: str) -> int | None:
    """The year of a date (VR DA, or as ACR-NEMA wrote it: 2024.03.01); None for anything else."""
    found = _DATE.fullmatch(text.strip())
    return int(found[1]) if found else None


def _acquired(values: Elements) -> date | None:
    for keyword in ("AcquisitionDate", "AcquisitionDateTime", "StudyDate"):
        text = values.text(keyword)[:8]
        if len(text) == 8 and text.isdigit():
            with suppress(ValueError):
                return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return None


def _patient_key(values: Elements) -> str:
    own = values.text("PatientID")
    if not own:
        return ""
    return hashlib.sha256(f"{own}\0{values.text('IssuerOfPatientID')}".encode()).hexdigest()[:16]


def _description(values: Elements) -> str:
    """The description of the series; messages quote it, so it is dropped where it contains the patient's name."""
    text = values.text("SeriesDescription")
    identity = f"{values.text('PatientName')}^{values.text('PatientID')}^{values.text('AccessionNumber')}"
    parts = {part for part in re.split(r"[\^=\s,\\]+", identity.casefold()) if len(part) > 2}
    return "" if any(part in text.casefold() for part in parts) else text


def _frame(values: Elements, layout: PixelLayout | None, number: int, sop_uid: str) -> Frame:
    image_type = values.text("ImageType").upper().split("\\")
    frame_type = values.text("FrameType").upper().split("\\")
    splitters: dict[str, str | float] = {}
    for keyword in SPLITTERS:
        quiet = Elements(values.items)
        found = quiet.number(keyword) if keyword in _NUMERIC_SPLITTERS else quiet.text(keyword)
        if found is not None and found != "":
            splitters[keyword] = found
    stack = tuple(
        (keyword, text)
        for keyword in ("FrameOfReferenceUID", "ConvolutionKernel", "StackID", "Modality")
        if (text := values.text(keyword))
    )
    return Frame(
        layout=layout,
        number=number,
        sop_uid=sop_uid,
        position_mm=values.numbers("ImagePositionPatient", 3),
        orientation=values.numbers("ImageOrientationPatient", 6),
        pixel_spacing_mm=values.numbers("PixelSpacing", 2),
        thickness_mm=Elements(values.items).number("SliceThickness"),
        slope=values.number("RescaleSlope"),
        intercept=values.number("RescaleIntercept"),
        rescale_type=values.text("RescaleType") or values.text("Units"),
        padding=_padding(values, layout),
        localizer="LOCALIZER" in image_type or "LOCALIZER" in frame_type,
        stack=stack,
        splitters=splitters,
        instance_number=Elements(values.items).number("InstanceNumber"),
        tilt_deg=Elements(values.items).number("GantryDetectorTilt"),
        has_modality_lut=values.raw("ModalityLUTSequence") is not None,
        problems=tuple(values.problems),
    )


def _padding(values: Elements, layout: PixelLayout | None) -> tuple[int, int] | None:
    """Pixel Padding Value as a stored value, inclusive range (PS3.3 C.7.5.1.1.2).

    The tag may be written unsigned although the pixels are signed (63536 for -2000), as GE scanners do: the same bits
    are meant, so the number is wrapped.
    """
    value, limit = values.number("PixelPaddingValue"), values.number("PixelPaddingRangeLimit")
    if value is None or layout is None or not 0 < layout.bits_stored <= 64:
        return None

    def stored(number: float) -> int:
        whole = int(number)
        if layout.signed and whole > (1 << (layout.bits_stored - 1)) - 1:
            bits = layout.bits_allocated if whole >= 1 << layout.bits_stored else layout.bits_stored
            return whole - (1 << bits)
        if not layout.signed and whole < 0:
            return whole + (1 << layout.bits_allocated)
        return whole

    ends = sorted((stored(value), stored(limit if limit is not None else value)))
    return ends[0], ends[1]


def _multi_frames(dataset: Dataset, values: Elements, layout: PixelLayout | None) -> tuple[Frame, ...]:
    """Frames of an enhanced object: each attribute from its own functional group, else from the shared one."""
    sop_uid = values.text("SOPInstanceUID")
    shared = values.raw("SharedFunctionalGroupsSequence") or []
    per_frame = values.raw("PerFrameFunctionalGroupsSequence") or []
    count = layout.frames if layout is not None else len(per_frame)
    if count > MAX_HEADER_FRAMES or len(per_frame) not in (0, count):
        problem = f"{count} frames are declared, but {len(per_frame)} are described"
        return (_frame(Elements([dataset], [*values.problems, problem]), layout, 1, sop_uid),)
    shared_items = _functional_items(shared[0]) if len(shared) else []
    frames = []
    for index in range(count):
        own = _functional_items(per_frame[index]) if len(per_frame) else []
        items = [*own, *shared_items, dataset]
        frames.append(_frame(Elements(items, list(values.problems)), layout, index + 1, sop_uid))
    return tuple(frames)


def _functional_items(groups: Dataset) -> list[Dataset]:
    """The one item of every functional group sequence."""
    items = []
    for element in groups:
        if element.VR == "SQ" and len(element.value):
            items.append(element.value[0])
    return items
