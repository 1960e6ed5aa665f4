"""Headers of the source images; results take patient, study and place from them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from tips_med.deidentification import Deidentifier
from tips_med.errors import OutputError, ReadError
from tips_med.exporters.dicom.attributes import fitting
from tips_med.readers.sources import dicom_files
from tips_med.scan import Scan

logger = logging.getLogger(__name__)

_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID")
_REQUIRED_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2 in every object that is made: empty where the source lacks them."""

_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientPosition",
    "StudyDescription",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_IMAGE = (
    "Modality",
    "Rows",
    "Columns",
    "ImageType",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
)
_READ = ("SpecificCharacterSet", *_IDENTITY, *_REQUIRED_EMPTY, *_OPTIONAL, *_IMAGE)


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Headers of the images that a scan was read from.

    Attributes:
        images: Headers of the images, each once, in the order of the slices; one for a multi-frame source.
        by_slice: Image of every slice k; None for a filled gap.
        frame_numbers: Frame number (from 1) of every slice of a multi-frame source; empty otherwise.
    """

    images: tuple[Dataset, ...]
    by_slice: tuple[Dataset | None, ...]
    frame_numbers: tuple[int, ...]

    @property
    def first(self) -> Dataset:
        """The image from which patient, study and series are taken."""
        return self.images[0]

    @property
    def is_multiframe(self) -> bool:
        """Whether slices are frames of one object."""
        return bool(self.frame_numbers)

    def of_slices(self, slices: Iterable[int]) -> list[tuple[Dataset, list[int] | None]]:
        """Images of some slices, each with the frame numbers meant (None for single-frame images)."""
        found: dict[str, tuple[Dataset, list[int] | None]] = {}
        for k in slices:
            image = self.by_slice[k]
            if image is None:
                continue
            _, frames = found.setdefault(str(image.SOPInstanceUID), (image, [] if self.is_multiframe else None))
            if frames is not None:
                frames.append(self.frame_numbers[k])
        return list(found.values())


def read_source(path: str | Path, scan: Scan, deidentifier: Deidentifier | None = None) -> SourceImages:
    """Reads the headers of a scan's images again.

    Args:
        path: Path that the scan was read from: a folder, a file, a DICOMDIR or a zip archive. Files of other series in
            it are passed over.
        scan: The scan; its provenance names the required instances.
        deidentifier: De-identifier of the scan, applied to the headers too; not needed where the path
            names a de-identified copy.

    Returns:
        Headers with only the attributes that results need, their text as Unicode.

    Raises:
        OutputError: ``not-dicom`` (the scan is from a NIfTI file, say), ``source-missing`` (an image is no longer
            there), ``source-unfit`` (results cannot refer to it).
    """
    wanted = _wanted(path, scan)
    found: dict[str, Dataset] = {}
    unfit: set[str] = set()
    try:
        with dicom_files(Path(path)) as files:
            paths = files.paths
            if files.single is not None and not scan.provenance.frame_numbers:
                paths = tuple(sorted(p for p in files.single.parent.iterdir() if p.is_file()))
            for file in paths:
                image = _read(file, wanted, str(scan.provenance.series_uid), deidentifier, unfit)
                if image is not None:
                    found.setdefault(str(image.SOPInstanceUID), image)
    except ReadError:
        logger.debug("no DICOM files at the path of the source")
    if unfit:
        logger.warning(
            "left empty in results, for no object may hold the source's values: %s", ", ".join(sorted(unfit))
        )
    missing = [uid for uid in wanted if uid not in found]
    if missing:
        raise OutputError(
            f"{len(missing)} of the {len(wanted)} images that were searched are not there",
            path=path,
            expected="the DICOM images that the answer is about",
            remedy="name the folder that the scan was read from (for an encoded study, with --source)",
            code="source-missing",
        )
    by_slice = tuple(found[uid] if uid else None for uid in scan.provenance.instance_uids)
    images = tuple(found[uid] for uid in wanted)
    if not scan.provenance.frame_of_reference_uid or any("FrameOfReferenceUID" not in image for image in images):
        raise OutputError(
            "the images share no Frame of Reference UID, so no DICOM object can say where anything lies in them",
            path=path,
            expected="one Frame of Reference UID (0020,0052) in all images",
            remedy="leave DICOM results out; the NIfTI mask and the report are placed by the images' positions",
            code="source-unfit",
        )
    return SourceImages(images, by_slice, scan.provenance.frame_numbers)


def _wanted(path: str | Path, scan: Scan) -> list[str]:
    """SOP Instance UIDs in the order of the slices, each once."""
    source = scan.provenance
    if source.format != "dicom" or not source.series_uid or not any(source.instance_uids):
        raise OutputError(
            f"results as DICOM need a DICOM source, and this scan is from {source.format}",
            path=path,
            expected="a DICOM series",
            remedy="leave DICOM results out, or query the DICOM series itself",
            code="not-dicom",
        )
    uids = [uid for uid in source.instance_uids if uid]
    once = list(dict.fromkeys(uids))
    if len(once) < len(uids) and not source.frame_numbers:
        raise _unfit(path, "several images share one SOP Instance UID, so results cannot refer to them")
    return once


def _unfit(path: str | Path, found: str) -> OutputError:
    return OutputError(found, path=path, remedy="leave DICOM results out for this series", code="source-unfit")


def _read(
    file: Path, wanted: Sequence[str], series_uid: str, deidentifier: Deidentifier | None, unfit: set[str]
) -> Dataset | None:
    """One header, when it is one of those wanted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_READ))
            uids = str(raw.get("SOPInstanceUID", "")), str(raw.get("SeriesInstanceUID", ""))
            if uids[0] in wanted and uids[1] == series_uid:
                return _clean(raw, unfit)
            if deidentifier is None or deidentifier.uid(uids[0]) not in wanted:
                return None
            clean = _clean(raw, unfit)
            deidentifier.header(clean)
            return clean if clean.SeriesInstanceUID == series_uid else None
    except Exception as error:  # pydicom raises whatever damaged bytes lead it to; the caller reports what is missing
        logger.debug("a header was passed over (%s)", type(error).__name__)
        return None


def _clean(raw: Dataset, unfit: set[str]) -> Dataset:
    """The same header in Unicode; a value that no object may hold is left empty, or left out where it is optional."""
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _IDENTITY:
        if keyword in raw:
            setattr(clean, keyword, raw[keyword].value)
    for keyword in (*_IMAGE, *_REQUIRED_EMPTY, *_OPTIONAL):
        value: Any = None
        try:
            held: Any = raw[keyword].value if keyword in raw else None
            value = held if keyword in _IMAGE else fitting(keyword, held)
            if value is not None or keyword in _REQUIRED_EMPTY:
                setattr(clean, keyword, value)
        except Exception as error:  # whatever its bytes lead to
            logger.debug("%s cannot be parsed (%s)", keyword, type(error).__name__)
            if keyword in _REQUIRED_EMPTY:
                setattr(clean, keyword, None)
        source: Any = raw.get_item(keyword)
        if value is None and source is not None and source.value:
            unfit.add(keyword)
    return clean
