"""RT Structure Sets (PS3.3 A.19): the answer as contours, for radiotherapy systems.

Written with pydicom on highdicom's base object. Of the libraries for it, rt-utils has had no release since 2023, and
pydicomrt rounds contours to pixels' centres and smooths them; the tests read the objects back with others.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage
from pydicom.valuerep import DA, TM

from tips_med.exporters.contours import closed_contours
from tips_med.exporters.dicom import codes, phrasing
from tips_med.exporters.dicom.equipment import DESCRIPTION, NOTICE, Equipment, SeriesPlan
from tips_med.exporters.dicom.source import SourceImages
from tips_med.exporters.label_colours import colour_of
from tips_med.geometry import transform_points
from tips_med.grounding import Grounding

NOT_CLINICAL = f"{NOTICE}; not for clinical use"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired, which the standard still wants here (PS3.3 table C.8-41)."""

_ROI = 1


def make_structure_set(
    grounding: Grounding, source: SourceImages, equipment: Equipment, series: SeriesPlan
) -> SOPClass:
    """A structure set with one region of interest: all that the answer outlines.

    Args:
        grounding: An answer with at least one instance.
        source: Headers of the source images.
        equipment: Algorithm that made the answer.
        series: Target series.

    Returns:
        The object, in Implicit VR Little Endian: in explicit VR a long contour does not fit into its element. Contours
        lie on the slices' own planes, in LPS and mm; a hole is joined to the contour about it by a keyhole.
    """
    made = SOPClass(
        study_instance_uid=source.first.StudyInstanceUID,
        sop_class_uid=RTStructureSetStorage,
        modality="RTSTRUCT",
        transfer_syntax_uid=ImplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        series_description=DESCRIPTION,
        **equipment.arguments,
        **series.place("RTSTRUCT"),
    )
    made.copy_patient_and_study_information(source.first)
    made.OperatorsName = ""
    made.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    made.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator", "")
    now = datetime.now()
    made.StructureSetLabel = "TIPS_MED"
    made.StructureSetDescription = NOT_CLINICAL
    made.StructureSetDate, made.StructureSetTime = DA(now.date()), TM(now.time())
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_referenced(source)]
    made.StructureSetROISequence = [_region(grounding, source, equipment)]
    made.ROIContourSequence = [_contours(grounding, source)]
    made.RTROIObservationsSequence = [_observation(grounding)]
    codes.identify_private_scheme(made)
    return made


def roi_name(grounding: Grounding) -> str:
    """What radiotherapy systems call the region, in the lexicon's words: ``nodule in the left lung (unsure)``."""
    unsure = " (unsure)" if grounding.presence.state == "unsure" else ""
    return phrasing.subject(grounding)[: 64 - len(unsure)] + unsure


def _referenced(source: SourceImages) -> Dataset:
    """All images that were searched."""
    series = Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [_reference(image, None) for image in source.images]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(image: Dataset, frames: list[int] | None) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    if frames is not None:
        made.ReferencedFrameNumber = frames
    return made


def _region(grounding: Grounding, source: SourceImages, equipment: Equipment) -> Dataset:
    made = Dataset()
    made.ROINumber = _ROI
    made.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    made.ROIName = roi_name(grounding)
    made.ROIDescription = f"{phrasing.answer_sentence(grounding, source)[:900]} {NOT_CLINICAL}."
    made.ROIVolume = f"{sum(one.volume_ml for one in grounding.instances):.6g}"
    made.ROIGenerationAlgorithm = "AUTOMATIC"
    made.ROIGenerationDescription = equipment.model[:64]
    made.ROIDerivationAlgorithmIdentificationSequence = equipment.for_segment()
    return made


def _contours(grounding: Grounding, source: SourceImages) -> Dataset:
    mask, lps_from_kji = grounding.mask, grounding.scan.lps_from_kji
    contours = []
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        images = source.of_slices([int(k)])
        for outline in closed_contours(mask[k]):
            points = transform_points(lps_from_kji, np.column_stack([np.full(len(outline), k), outline]))
            contour = Dataset()
            if images:
                contour.ContourImageSequence = [_reference(*images[0])]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourNumber = len(contours) + 1
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            contours.append(contour)
    made = Dataset()
    made.ReferencedROINumber = _ROI
    made.ROIDisplayColor = list(colour_of(1))
    made.ContourSequence = contours
    return made


def _observation(grounding: Grounding) -> Dataset:
    query = grounding.query
    side = query.side or (grounding.instances[0].side if len({one.side for one in grounding.instances}) == 1 else None)
    region, laterality = codes.region(query), codes.laterality(query, side)
    kind = codes.sought(query)
    made = Dataset()
    made.ObservationNumber = made.ReferencedROINumber = _ROI
    made.ROIObservationDescription = f"{grounding.presence.state}. {NOT_CLINICAL}."
    made.SegmentedPropertyCategoryCodeSequence = [codes.category(query)]
    made.RTROIIdentificationCodeSequence = [kind]
    if region is not None:
        made.AnatomicRegionSequence = [region]
        if laterality is not None:
            region.AnatomicRegionModifierSequence = [laterality]
    elif laterality is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [laterality]
    # Neither a target nor an organ at risk unless a person makes it one: type 2, and empty but for structures.
    made.RTROIInterpretedType = "ORGAN" if query.finding is None else ""
    made.ROIInterpreter = ""
    return made
